// The JSON that containerd puts into PodSandboxStatus(verbose).info["info"].
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"

#include <string_view>

namespace fallbackd::cri {

/// Fills pid, cgroup parent, paths, hostname and log directory of `status` from that JSON.
/// The form is containerd's (1.6 to 2.x): {"pid", "config": PodSandboxConfig, "runtimeSpec": OCI spec}.
/// Stage sandbox, reason protocol where it is not what it should be.
Result<> applySandboxInfo(std::string_view json, SandboxStatus& status);

}  // namespace fallbackd::cri
