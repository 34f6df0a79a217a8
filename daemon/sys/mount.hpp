// Detached copies of mounts: a piece of one mount namespace that can be handed to another by descriptor.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

namespace fallbackd::sys {

struct MountFlags {
  bool readOnly = true;
  bool noExec = false;
  /// Set: owners show as that user namespace has them (kernel 5.12, and a file system that can).
  const UniqueFd* idMap = nullptr;
};

/// Copies the mount that `source` (O_PATH) shows, with all below it: nosuid, nodev, private (nothing that is
/// mounted here or there shows on the other side). Attached nowhere yet; move_mount(2) does that. It
/// vanishes with its last descriptor. Kernel 5.12. Needs CAP_SYS_ADMIN.
Result<UniqueFd> copyMount(Stage stage, const UniqueFd& source, MountFlags flags, const std::string& what);

}  // namespace fallbackd::sys
