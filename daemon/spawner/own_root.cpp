// SPDX-License-Identifier: Apache-2.0
#include "spawner/own_root.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::launcher {

Result<> enterOwnRoot() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const char* place = "/proc";  // any folder that exists on every machine; covered in this namespace only
  if (::unshare(CLONE_NEWNS) != 0) return failErrno(Stage::spawner, "make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return failErrno(Stage::spawner, "make the mounts private");
  }
  if (::mount("fallbackd-spawner", place, "tmpfs", kFlags, "mode=0755,size=64k,nr_inodes=8") != 0) {
    return failErrno(Stage::spawner, "mount an empty root");
  }
  if (::chdir(place) != 0 || ::mkdir(kNewRoot + 1, 0755) != 0) {
    return failErrno(Stage::spawner, "fill the empty root");
  }
  if (::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
    return failErrno(Stage::spawner, "enter the empty root");
  }
  if (::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | kFlags, nullptr) != 0) {
    return failErrno(Stage::spawner, "make the empty root read-only");
  }
  return {};
}

}  // namespace fallbackd::launcher
