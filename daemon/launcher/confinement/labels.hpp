// SPDX-License-Identifier: Apache-2.0
// The node's security modules: how a container of the pod would be labelled.
#pragma once

#include "config/model.hpp"
#include "spawner/protocol.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::launcher {

/// Where the kernel publishes its modules; other trees in tests.
struct KernelFolders {
  std::string proc = "/proc";
  std::string sys = "/sys";
};

/// What the new process has to write before it executes anything. AppArmor: the profile that containerd gives
/// its containers, or the workload's. SELinux: the workload's label, or that of the pause process, which is
/// the pod's. Empty if the node has neither. A default profile that is not loaded is skipped, with an entry
/// in `notes`. Stage identity.
Result<std::vector<ProcessAttribute>> processLabels(const KernelFolders& kernel, pid_t pause,
                                                    const config::Security& security,
                                                    std::vector<std::string>& notes);

/// SELinux: the label of the files that a container of the pod gets from its image, taken from the pause
/// process's program, but without the pod's categories: all pods of a node share the copy of a binary. Empty
/// if the node has no SELinux. Stage identity.
Result<std::string> fileLabel(const KernelFolders& kernel, pid_t pause);
/// "USER:ROLE:TYPE:s0:c1,c2" becomes "USER:ROLE:TYPE:s0"; of a range of levels the lower one stays.
std::string withoutCategories(const std::string& label);
/// Gives the file of a descriptor a SELinux label, unless it has it. Stage identity.
Result<> labelFile(int file, const std::string& label);

}  // namespace fallbackd::launcher
