// Which workloads cover a pod.
#pragma once

#include "config/model.hpp"
#include "cri/types.hpp"

#include <memory>
#include <vector>

namespace fallbackd::watcher {

using WorkloadPtr = std::shared_ptr<const config::Workload>;  // keeps its whole Config alive

bool covers(const config::Match& match, const cri::Sandbox& sandbox);

/// Every workload that covers the pod: at most one a container, as the validation sees to.
std::vector<WorkloadPtr> workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox);

}  // namespace fallbackd::watcher
