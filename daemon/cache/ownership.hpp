// SPDX-License-Identifier: Apache-2.0
// Who could have written a file that we are about to trust.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace fallbackd::cache {

/// Checks that only `owner` can change the folder. Reasons: unsafe_owner, system.
Result<> checkFolder(const sys::UniqueFd& fd, uid_t owner, const std::string& what);

/// Opens a folder by absolute path: no symlink on the way, and nobody but root and `owner` can replace a part
/// of the path; then checkFolder. Reasons: unsafe_path, unsafe_owner, not_found, system.
Result<sys::DirFd> openTrusted(const std::string& path, uid_t owner);

struct FileFacts {
  std::uint64_t size = 0;
  dev_t device = 0;
  ino_t inode = 0;
  // ctime, which the owner cannot set back. Seconds and nanoseconds: a file system may know any year.
  std::int64_t changedSeconds = 0;
  std::int64_t changedNanos = 0;
  friend bool operator==(const FileFacts&, const FileFacts&) = default;
};

/// Checks that only `owner` can change the regular file: not writable by others, a single name (a second hard
/// link could be a writable path to it), no set-id bits. Reasons: unsafe_file_type, unsafe_owner.
Result<FileFacts> checkFile(const sys::UniqueFd& fd, uid_t owner, const std::string& what);

struct CheckedFile {
  std::string name;
  std::string path;  // for messages
  sys::UniqueFd fd;
  FileFacts facts;
};
/// Opens `name` below `dir`, named `folder` in messages, and checks it.
Result<CheckedFile> openChecked(const sys::DirFd& dir, const std::string& folder, const std::string& name,
                                uid_t owner);

}  // namespace fallbackd::cache
