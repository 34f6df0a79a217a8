// SPDX-License-Identifier: Apache-2.0
// Files and folders: opening without being led astray, reading whole files, crash-safe writes. All calls
// block. Errors carry the caller's Stage and errno.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <cstddef>
#include <fcntl.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace fallbackd::sys {

/// Opens a folder by absolute path; follows symlinks.
Result<DirFd> openDir(Stage stage, const std::string& path);

/// Opens `path` below `dir` for reading: follows no symlink, stays below `dir` (openat2 RESOLVE_BENEATH |
/// RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), never blocks on a FIFO. Kernel 5.6.
Result<UniqueFd> openBeneath(Stage stage, const DirFd& dir, const std::string& path, int flags = O_RDONLY);

/// Reads a whole file of at most `limit` bytes. Reason too_large above that, not_found if absent.
Result<std::string> readFile(Stage stage, const std::string& path, std::size_t limit);
Result<std::string> readAll(Stage stage, const UniqueFd& fd, std::size_t limit, const std::string& what);

/// Writes all bytes, with as many calls as that takes.
Result<> writeAll(Stage stage, const UniqueFd& fd, std::string_view bytes, const std::string& what);

/// Replaces `name` in `dir` so that after a power cut either the old or the new content is there: writes a
/// temporary file, fsyncs it, renames it, fsyncs the folder.
Result<> replaceFile(Stage stage, const DirFd& dir, const std::string& name, std::string_view bytes,
                     mode_t mode);

/// Creates the folder and missing parents (`mode` for the new ones).
Result<> makeDirs(Stage stage, const std::string& path, mode_t mode);

/// Names in a folder without "." and "..", sorted.
Result<std::vector<std::string>> listDir(Stage stage, const DirFd& dir);

/// Removes the socket at `path` that an earlier daemon left. A missing one is fine; reason unsafe_file_type
/// if it is anything but a socket.
Result<> removeSocket(Stage stage, const std::string& path);

}  // namespace fallbackd::sys
