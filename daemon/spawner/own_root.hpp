// SPDX-License-Identifier: Apache-2.0
// The spawner's own view of the file system: one empty, read-only folder.
#pragma once

#include "base/error.hpp"

namespace fallbackd::launcher {

/// Where each child mounts its new root.
inline constexpr const char* kNewRoot = "/r";

/// Leaves the machine's mounts: a private mount namespace whose root is an empty tmpfs. Cloning a mount
/// namespace copies every mount in it, and a busy node has thousands; from here on there is one. Nothing of
/// the host can be reached by a path, and nothing that a child mounts appears on the host. Once, before any
/// child. Needs CAP_SYS_ADMIN.
Result<> enterOwnRoot();

}  // namespace fallbackd::launcher
