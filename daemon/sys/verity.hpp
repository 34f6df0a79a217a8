// SPDX-License-Identifier: Apache-2.0
// fs-verity: the file system itself checks every block of a file that can never change again. A second check
// besides our own digest where kernel and file system support it; nothing depends on it.
#pragma once

#include "sys/fd.hpp"

#include <optional>
#include <string>

namespace fallbackd::sys {

/// Enables it for a file that is not open for writing (SHA-256, blocks of 4 KiB). False if the kernel or
/// the file system does not support it.
bool enableVerity(const UniqueFd& file);

/// The file's fs-verity digest ("sha256:HEX"); empty if it is not enabled.
std::optional<std::string> measureVerity(const UniqueFd& file);

}  // namespace fallbackd::sys
