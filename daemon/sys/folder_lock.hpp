// SPDX-License-Identifier: Apache-2.0
// One process at a time changes the files of a folder.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>

namespace fallbackd::sys {

/// Locks the folder until its descriptor is closed. Waits 2 s at most: anyone who can open the folder could
/// take the lock and keep it. Blocks. `path` is for messages. Reason timeout.
Result<> lockFolder(Stage stage, const DirFd& folder, const std::string& path,
                    const Clock& clock = Clock::system());

}  // namespace fallbackd::sys
