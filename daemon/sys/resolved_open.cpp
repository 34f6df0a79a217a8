// SPDX-License-Identifier: Apache-2.0
#include "sys/resolved_open.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::sys {

namespace {

// A node renames and mounts all the time, but not that often during one walk.
constexpr int kMaxAttempts = 16;

}  // namespace

int openResolved(int folder, const char* path, std::uint64_t flags, std::uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const long fd = ::syscall(SYS_openat2, folder, path, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return -1;
}

}  // namespace fallbackd::sys
