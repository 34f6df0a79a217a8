// SPDX-License-Identifier: Apache-2.0
// Who could have written what we are about to run or to follow.
#pragma once

#include "base/error.hpp"

#include <string>
#include <sys/types.h>

namespace fallbackd::workers {

/// Checks that `path` is of the type (S_IFREG or S_IFDIR), that only root and our own user can change it, and
/// that no other user can replace it: in no folder on the way, including through symbolic links. In a sticky
/// folder (/tmp) no other user can.
///
/// `path` is absolute. Stage detection. Reasons: unsafe_owner, unsafe_file_type, not_found, system. Blocks as
/// the file systems do.
Result<> checkTrusted(const std::string& path, mode_t type);

}  // namespace fallbackd::workers
