// SPDX-License-Identifier: Apache-2.0
// A kernel that has no room for another inotify watch while a test sets this. Include it in one source of a
// program that is linked with --wrap=inotify_add_watch.
#pragma once

#include <cerrno>
#include <cstdint>

namespace fallbackd::test {

inline bool noRoomForWatches = false;

}  // namespace fallbackd::test

// NOLINTBEGIN(readability-identifier-naming,misc-definitions-in-headers): the linker chooses these names
extern "C" {
int __real_inotify_add_watch(int inotify, const char* path, std::uint32_t mask);
int __wrap_inotify_add_watch(int inotify, const char* path, std::uint32_t mask) {
  if (!fallbackd::test::noRoomForWatches) return __real_inotify_add_watch(inotify, path, mask);
  errno = ENOSPC;
  return -1;
}
}
// NOLINTEND(readability-identifier-naming,misc-definitions-in-headers)
