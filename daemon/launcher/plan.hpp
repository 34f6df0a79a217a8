// From a launch request to an order for the spawner: arguments, environment, files of the root.
#pragma once

#include "launcher/launcher.hpp"
#include "launcher/protocol.hpp"

#include <map>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// All of the order that is text, but for what confines the process (security.hpp). `fromFiles`: variables
/// that were read from the pod's volumes. Reads the sandbox's resolv.conf, which is the runtime's; stage
/// rootfs where it cannot. What works but may surprise goes into `notes`.
Result<LaunchOrder> planOrder(const LaunchRequest& request,
                              const std::map<std::string, std::string>& fromFiles,
                              std::vector<std::string>& notes);

/// What a process of that pod may be killed like when memory runs short: kubelet's values for the pod's
/// quality of service, told by the cgroup parent's name. A burstable pod's depends on its memory request,
/// which the sandbox does not tell; taken for small.
int oomScoreAdjOf(const std::string& cgroupParent);

}  // namespace fallbackd::launcher
