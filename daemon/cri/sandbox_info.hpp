// SPDX-License-Identifier: Apache-2.0
// Parses the JSON that containerd puts into PodSandboxStatus(verbose).info["info"].
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"

#include <string>
#include <string_view>

namespace fallbackd::cri {

/// Fills pid, cgroup parent, paths, hostname and log directory of `status` from that JSON. The format is
/// containerd's (1.6 to 2.x): {"pid", "config": PodSandboxConfig, "runtimeSpec": OCI spec}. Stage sandbox,
/// reason protocol for anything else.
Result<> applySandboxInfo(std::string_view json, SandboxStatus& status);

/// The pause container's image in the JSON of Status(verbose).info["config"]: `sandboxImage` up to 1.7; empty
/// if it is missing.
std::string sandboxImageOf(std::string_view json);

}  // namespace fallbackd::cri
