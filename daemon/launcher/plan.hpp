// From a launch request to an order for the spawner: arguments, environment, files of the root.
#pragma once

#include "launcher/launcher.hpp"
#include "launcher/protocol.hpp"

namespace fallbackd::launcher {

/// All of the order that is text. Reads the sandbox's resolv.conf; stage rootfs where it cannot.
Result<LaunchOrder> planOrder(const LaunchRequest& request);

/// What a process of that pod may be killed like when memory runs short: kubelet's values for the pod's
/// quality of service, told by the cgroup parent's name. A burstable pod's depends on its memory request,
/// which the sandbox does not tell; taken for small.
int oomScoreAdjOf(const std::string& cgroupParent);

}  // namespace fallbackd::launcher
