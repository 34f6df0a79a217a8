// fs-verity: the file system itself checks every block of a file that may never change again. Where kernel
// and file system have it; a second look besides our own digest, nothing depends on it.
#pragma once

#include "sys/fd.hpp"

#include <optional>
#include <string>

namespace fallbackd::sys {

/// Turns it on for a file that nobody has open for writing (SHA-256, blocks of 4 KiB). False where the kernel
/// or the file system cannot.
bool enableVerity(const UniqueFd& file);

/// The file's digest as fs-verity has it ("sha256:HEX"); empty where it is not on.
std::optional<std::string> measureVerity(const UniqueFd& file);

}  // namespace fallbackd::sys
