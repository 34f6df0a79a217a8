// SPDX-License-Identifier: Apache-2.0
// Whether a file has changed, from its metadata only. Follows symlinks, as mounted Secrets require.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <sys/stat.h>

namespace fallbackd::http {

struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t size = -1;  // -1: does not exist
  std::int64_t seconds = 0;
  std::int64_t nanos = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;

  static FileStamp of(const std::string& path) {
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) return {};
    return {facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
  }
  /// Whether reading the file again would give the same as `text`: no temporary error of this node prevented
  /// the read.
  [[nodiscard]] bool settles(const Result<std::string>& text) const {
    return size < 0 || text || text.error().reason == Reason::too_large;
  }
};

}  // namespace fallbackd::http
