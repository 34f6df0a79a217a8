// SPDX-License-Identifier: Apache-2.0
// A node full of pods, and what the daemon costs with them.
#pragma once

#include "shop.hpp"

#include <functional>
#include <string>
#include <vector>

namespace fallbackd::bench {

/// kubelet's default limit.
constexpr int kPodsOfANode = 110;

/// Starts all pods, several at the same time as kubelet does; runs `then` for each once it is up (on any
/// thread).
Result<std::vector<e2e::Pod>> startPods(
    e2e::Kubelet& kubelet, const std::vector<e2e::PodSpec>& specs,
    const std::function<Result<>(const e2e::Pod&)>& then = [](const e2e::Pod&) { return Result<>(); });

Result<> removePods(e2e::Kubelet& kubelet, const std::vector<e2e::Pod>& pods);

/// The usage of a daemon together with its spawner.
struct Usage {
  double cpuSeconds = 0;
  double residentMiB = 0;
  double peakMiB = 0;
};
Result<Usage> usageOf(pid_t daemon);

/// The names of the pods in /status' recoveries, one entry for every recovery.
Result<std::vector<std::string>> recoveredPods(const e2e::Daemon& daemon);

}  // namespace fallbackd::bench
