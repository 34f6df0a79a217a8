// Which workloads cover a pod.
#pragma once

#include "config/model.hpp"
#include "cri/types.hpp"

#include <memory>
#include <string>
#include <vector>

namespace fallbackd::watcher {

using WorkloadPtr = std::shared_ptr<const config::Workload>;  // keeps its whole Config alive

bool covers(const config::Match& match, const cri::Sandbox& sandbox);

struct Covering {
  std::vector<WorkloadPtr> workloads;  // at most one a container, as the validation sees to
  std::vector<std::string> troubles;   // annotations that cannot be followed, each naming the pod
};

/// Every workload that covers the pod. Where the pod's namespace is allowed to, its annotations
/// fallbackd.io/binary.CONTAINER and fallbackd.io/image.CONTAINER choose another version of the workload's
/// binary and its image. Where the configuration has no workload for the container, or one for another
/// binary, they make one of the defaults: user, volumes, capabilities and the rest are granted to a binary,
/// not to whatever a pod puts in its place.
Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox);

bool annotationsCount(const config::Config& config, const std::string& podNamespace);

}  // namespace fallbackd::watcher
