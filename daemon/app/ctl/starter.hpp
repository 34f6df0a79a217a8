// SPDX-License-Identifier: Apache-2.0
// A first configuration from `kubectl get deploy -o yaml`: takes over what a workload can take over, and
// names the rest where a person has to decide.
#pragma once

#include "config/load.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::ctl {

struct Starter {
  std::string yaml;  // empty if nothing could be created
  int workloads = 0;
  int openPoints = 0;  // comments that begin with "# TODO:"
  std::vector<config::Diagnostic> diagnostics;
};

/// `text`: one object or a List of them: Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob.
/// Accepts any bytes.
Starter makeStarter(std::string_view text);

}  // namespace fallbackd::ctl
