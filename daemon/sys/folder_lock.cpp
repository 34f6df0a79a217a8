// SPDX-License-Identifier: Apache-2.0
#include "sys/folder_lock.hpp"

#include <cerrno>
#include <chrono>
#include <sys/file.h>

namespace fallbackd::sys {

namespace {

constexpr std::chrono::seconds kLockPatience{2};
constexpr std::chrono::milliseconds kLockPause{5};

}  // namespace

Result<> lockFolder(Stage stage, const DirFd& folder, const std::string& path, const Clock& clock) {
  const auto deadline = clock.now() + kLockPatience;
  while (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return failErrno(stage, "lock " + path);
    if (clock.now() > deadline) {
      return fail(stage, Reason::timeout, path + " is locked by another process");
    }
    clock.sleep(kLockPause);
  }
  return {};
}

}  // namespace fallbackd::sys
