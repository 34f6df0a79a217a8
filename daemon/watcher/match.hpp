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
/// fallbackd.io/binary.CONTAINER and fallbackd.io/image.CONTAINER replace those of the workload, or make one
/// where the configuration has none.
Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox);

bool annotationsCount(const config::Config& config, const std::string& podNamespace);

}  // namespace fallbackd::watcher
