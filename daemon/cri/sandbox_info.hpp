// The JSON that containerd puts into PodSandboxStatus(verbose).info["info"].
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"

#include <string>
#include <string_view>

namespace fallbackd::cri {

/// Fills pid, cgroup parent, paths, hostname and log directory of `status` from that JSON.
/// The form is containerd's (1.6 to 2.x): {"pid", "config": PodSandboxConfig, "runtimeSpec": OCI spec}.
/// Stage sandbox, reason protocol where it is not what it should be.
Result<> applySandboxInfo(std::string_view json, SandboxStatus& status);

/// The pause container's image in the JSON of Status(verbose).info["config"]: `sandboxImage` up to 1.7;
/// empty where it is not there.
std::string sandboxImageOf(std::string_view json);

}  // namespace fallbackd::cri
