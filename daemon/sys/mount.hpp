// SPDX-License-Identifier: Apache-2.0
// Detached copies of mounts: part of one mount namespace, handed to another one by descriptor.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

namespace fallbackd::sys {

struct MountFlags {
  bool readOnly = true;
  bool noExec = false;
  /// Programs on the copy can be executed even if the source is mounted with noexec. Only for our own files.
  bool exec = false;
  /// If set, owners appear as in that user namespace (kernel 5.12, and a file system that supports it).
  const UniqueFd* idMap = nullptr;
};

/// Copies the mount at `source` (O_PATH) with everything below it: nosuid, nodev, private (later mounts on
/// one side do not appear on the other). Not attached anywhere; move_mount(2) does that. It disappears with
/// its last descriptor. Kernel 5.12. Needs CAP_SYS_ADMIN.
Result<UniqueFd> copyMount(Stage stage, const UniqueFd& source, MountFlags flags, const std::string& what);

}  // namespace fallbackd::sys
