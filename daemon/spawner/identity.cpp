// SPDX-License-Identifier: Apache-2.0
#include "spawner/identity.hpp"

#include "spawner/tell.hpp"
#include "sys/resolved_open.hpp"

#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace fallbackd::launcher {

namespace {

bool writeAt(int folder, const std::string& file, const std::string& value) {
  const int fd = ::openat(folder, file.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size());
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

void setLimits(ChildPlan& plan) {
  for (std::size_t i = 0; i < plan.limits.size(); ++i) {
    const rlimit value{plan.limits[i].soft, plan.limits[i].hard};
    if (::prlimit(0, static_cast<__rlimit_resource>(plan.limits[i].resource), &value, nullptr) != 0) {
      giveUp(plan, Step::rlimit, static_cast<int>(plan.limits[i].resource));
    }
  }
}

/// Privileges must not come back: not through a set-user-id file, not through uid 0, not by inheritance.
void dropBoundingSet(ChildPlan& plan) {
  for (int capability = 0; capability < 64; ++capability) {
    if ((plan.order.capabilities >> capability & 1U) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL && capability > CAP_AUDIT_READ) break;  // past the kernel's last capability
    giveUp(plan, Step::bounding_set);
  }
  // Keeps the requested capabilities over the change of user; locked in setCapabilities.
  if (::prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NOROOT, 0, 0, 0) != 0) {
    giveUp(plan, Step::securebits);
  }
}

void setUser(ChildPlan& plan) {
  const auto& order = plan.order;
  if (::syscall(SYS_setgroups, order.groups.size(), order.groups.data()) != 0) giveUp(plan, Step::groups);
  if (::syscall(SYS_setresgid, order.gid, order.gid, order.gid) != 0) giveUp(plan, Step::gid);
  if (::syscall(SYS_setresuid, order.uid, order.uid, order.uid) != 0) giveUp(plan, Step::uid);
  stayHidden(plan);
}

/// Puts the requested capabilities, usually none, into every set. The ambient set carries them through
/// execveat for any user.
void setCapabilities(ChildPlan& plan) {
  const std::uint64_t wanted = plan.order.capabilities;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct before[_LINUX_CAPABILITY_U32S_3]{};
  __user_cap_data_struct after[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, &before) != 0) giveUp(plan, Step::capabilities);
  for (unsigned word = 0; word < _LINUX_CAPABILITY_U32S_3; ++word) {
    const auto bits = static_cast<std::uint32_t>(wanted >> (32 * word));
    after[word] = {bits, bits, bits};
    // The change of user cleared the effective set; an ambient capability must be inheritable first.
    before[word].effective = before[word].permitted;
    before[word].inheritable = bits;
  }
  if (::syscall(SYS_capset, &header, &before) != 0) giveUp(plan, Step::capabilities);
  for (int capability = 0; wanted != 0 && capability < 64; ++capability) {
    if ((wanted >> capability & 1U) == 0) continue;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      giveUp(plan, Step::capabilities);
    }
  }
  constexpr int kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
                        SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                        SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (::prctl(PR_SET_SECUREBITS, kBits, 0, 0, 0) != 0) giveUp(plan, Step::securebits);
  if (::syscall(SYS_capset, &header, &after) != 0) giveUp(plan, Step::capabilities);
  stayHidden(plan);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) giveUp(plan, Step::no_new_privs);
}

/// As the final user, so that a folder which it may not enter is found now.
void enterWorkingDir(ChildPlan& plan) {
  const int folder = sys::openResolved(AT_FDCWD, plan.order.workingDir.c_str(), O_PATH | O_DIRECTORY,
                                       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (folder < 0 || ::fchdir(folder) != 0) giveUp(plan, Step::working_dir);
  ::close(folder);
  char where[PATH_MAX];
  if (::getcwd(where, sizeof where) == nullptr) giveUp(plan, Step::working_dir);
  if (where[0] != '/') {
    errno = EXDEV;
    giveUp(plan, Step::working_dir);
  }
}

}  // namespace

void stayHidden(ChildPlan& plan) {
  if (!hide()) giveUp(plan, Step::hide);
}

void labelProcess(ChildPlan& plan) {
  const auto& attributes = plan.order.attributes;
  if (attributes.empty()) return;
  const int self = ::open("proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (std::size_t i = 0; i < attributes.size(); ++i) {
    if (self < 0 || !writeAt(self, attributes[i].file, attributes[i].value)) {
      giveUp(plan, Step::attribute, static_cast<int>(i));
    }
  }
  ::close(self);
}

void leaveDaemon(ChildPlan& plan) {
  // The daemon may have more or less than an ordinary share of the processor; its fallbacks must not inherit
  // that.
  static_cast<void>(::setpriority(PRIO_PROCESS, 0, 0));
  if (::setsid() < 0) giveUp(plan, Step::session);
  // Otherwise the process would hold the daemon's keyring and the keys in it.
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS && errno != EPERM) {
    giveUp(plan, Step::keyring);
  }
  setLimits(plan);
}

void becomeUser(ChildPlan& plan) {
  dropBoundingSet(plan);
  setUser(plan);
  setCapabilities(plan);
  enterWorkingDir(plan);
}

void loadFilter(ChildPlan& plan) {
  if (plan.program.empty()) return;
  // SPEC_ALLOW: without it kernels before 5.16 slow down every filtered program; runtimes set it too.
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &plan.filter) != 0) {
    giveUp(plan, Step::seccomp);
  }
}

}  // namespace fallbackd::launcher
