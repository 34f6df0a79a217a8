// SPDX-License-Identifier: Apache-2.0
// Catches what is written to stderr, where the log goes, while this object lives.
#pragma once

#include "sys/fd.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::test {

class CaughtLog {
 public:
  CaughtLog() { EXPECT_EQ(::dup2(file_.get(), STDERR_FILENO), STDERR_FILENO); }
  CaughtLog(const CaughtLog&) = delete;
  CaughtLog& operator=(const CaughtLog&) = delete;
  ~CaughtLog() { EXPECT_EQ(::dup2(before_.get(), STDERR_FILENO), STDERR_FILENO); }

  [[nodiscard]] std::string text() const {
    std::array<char, 4096> buffer{};
    const auto length = ::pread(file_.get(), buffer.data(), buffer.size(), 0);
    return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
  }
  [[nodiscard]] std::ptrdiff_t lines() const {
    const auto all = text();
    return std::count(all.begin(), all.end(), '\n');
  }

 private:
  sys::UniqueFd file_{::memfd_create("log", MFD_CLOEXEC)};
  sys::UniqueFd before_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)};
};

}  // namespace fallbackd::test
