// A first configuration out of what `kubectl get deploy -o yaml` says: what a workload can take over is taken
// over, what it cannot is named, where a person has to decide.
#pragma once

#include "config/load.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::ctl {

struct Starter {
  std::string yaml;  // empty where nothing could be made
  int workloads = 0;
  int openPoints = 0;  // comments that begin with "# TODO:"
  std::vector<config::Diagnostic> diagnostics;
};

/// `text`: one object or a List of them: Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob.
/// Any bytes may be given.
Starter makeStarter(std::string_view text);

}  // namespace fallbackd::ctl
