// SPDX-License-Identifier: Apache-2.0
// The machine of scripts/node in which a test runs.
#pragma once

#include "content_of.hpp"

#include <chrono>
#include <string>

namespace fallbackd::e2e {

/// False on any other machine: there such tests skip everything. Read from the kernel's arguments, because a
/// variable could be set by mistake.
inline bool onANode() {
  return test::contentOf("/proc/cmdline").starts_with("fallbackd.node=");
}

/// Whether the node's kubelet and containerd would let systemd make the pods' cgroups.
inline bool systemdMakesCgroups() {
  return test::contentOf("/node/settings").find("[cgroup_driver]=\"systemd\"") != std::string::npos;
}

}  // namespace fallbackd::e2e
