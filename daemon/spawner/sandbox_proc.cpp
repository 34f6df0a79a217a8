// SPDX-License-Identifier: Apache-2.0
#include "spawner/sandbox_proc.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kStackBytes = 64 * 1024;

struct Taking {
  int sandbox = -1;
  sys::NamespaceId wanted;
  int tree = -1;
  int error = 0;
};

bool shows(int tree, const sys::NamespaceId& wanted) {
  struct statfs kind {};
  if (::fstatfs(tree, &kind) != 0) return false;
  struct stat first {};
  if (kind.f_type != PROC_SUPER_MAGIC) {
    errno = EXDEV;
    return false;
  }
  if (::fstatat(tree, "1/ns/pid", &first, 0) != 0) return false;
  errno = EXDEV;
  return sys::NamespaceId{first.st_dev, first.st_ino} == wanted;
}

/// Only its creator sees this process. It shares memory and descriptors with the spare, which waits for it,
/// but not the mount namespace.
int inSandboxMounts(void* argument) {
  auto& taking = *static_cast<Taking*>(argument);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::setns(taking.sandbox, CLONE_NEWNS) == 0) {
    taking.tree = ::open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
  }
  if (taking.tree < 0 || !shows(taking.tree, taking.wanted)) taking.error = errno;
  ::_exit(0);
}

}  // namespace

int takeSandboxProc(int sandbox, const sys::NamespaceId& wanted) {
  alignas(64) static std::array<char, kStackBytes> stack;
  Taking taking{sandbox, wanted};
  const int pid = ::clone(&inSandboxMounts, stack.data() + stack.size(),
                          CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &taking);
  if (pid < 0) return -1;
  while (::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  const sys::UniqueFd tree(taking.tree);
  if (taking.error == 0) {
    mount_attr quiet{};
    quiet.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &quiet, sizeof quiet) == 0) {
      return ::fcntl(tree.get(), F_DUPFD_CLOEXEC, 0);
    }
    taking.error = errno;
  }
  errno = taking.error;
  return -1;
}

}  // namespace fallbackd::launcher
