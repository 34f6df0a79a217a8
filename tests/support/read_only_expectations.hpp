// SPDX-License-Identifier: Apache-2.0
// What must be true inside a guarded run, whatever guards it.
#pragma once

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::test {

/// `beside`: a folder beside the scratch folder; the program's main has made it read-only.
inline void expectReadOnlyMachine(const std::filesystem::path& beside) {
  const auto file = beside / ("fallbackd-read-only-" + std::to_string(::getpid()));
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  EXPECT_EQ(fd, -1) << file << " must not be writable";
  EXPECT_EQ(errno, EROFS) << file;
  if (fd >= 0) {
    ::close(fd);
    ::unlink(file.c_str());
  }
  for (const char* folder :
       {"/", "/etc", "/usr", "/var", "/home", "/root", "/opt", "/boot", "/srv", "/tmp"}) {
    struct statvfs info {};
    if (::statvfs(folder, &info) != 0) continue;  // not every machine has all of them
    EXPECT_NE(info.f_flag & ST_RDONLY, 0U) << folder << " is writable";
  }
}

}  // namespace fallbackd::test
