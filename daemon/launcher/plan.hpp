// SPDX-License-Identifier: Apache-2.0
// From a launch request to an order for the spawner: arguments, environment, files of the root.
#pragma once

#include "launcher/launcher.hpp"
#include "spawner/protocol.hpp"

#include <map>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// The text part of the order, except what confines the process (security.hpp). `fromFiles`: variables that
/// were read from the pod's volumes. Reads the sandbox's resolv.conf, which belongs to the runtime; stage
/// rootfs if it cannot. Surprising but working details go into `notes`.
Result<LaunchOrder> planOrder(const LaunchRequest& request,
                              const std::map<std::string, std::string>& fromFiles,
                              std::vector<std::string>& notes);

/// oom_score_adj for a process of that pod: kubelet's values for the pod's quality of service, which the
/// cgroup parent's name reveals. For a burstable pod it depends on the memory request, which the sandbox does
/// not state; it is assumed to be small.
int oomScoreAdjOf(const std::string& cgroupParent);

}  // namespace fallbackd::launcher
