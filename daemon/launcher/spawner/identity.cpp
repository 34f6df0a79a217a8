// From root to the workload's user: session, keyring, limits, user and groups, capabilities, seccomp. In this
// order, since each step takes away what the one before it needed.
#include "launcher/spawner/child.hpp"

#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace fallbackd::launcher {

namespace {

void leaveSession(const ChildPlan& plan) {
  if (::setsid() < 0) giveUp(plan, Step::session);
  // Without this the process would hold the daemon's keyring, and the keys in it.
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS && errno != EPERM) {
    giveUp(plan, Step::keyring);
  }
  for (std::size_t i = 0; i < plan.limits.size(); ++i) {
    const auto& limit = plan.limits[i];
    if (::prlimit(0, static_cast<__rlimit_resource>(limit.resource), &limit.value, nullptr) != 0) {
      giveUp(plan, Step::rlimit, static_cast<int>(i));
    }
  }
}

/// Nothing may come back: not by a set-user-id file, not by being root, not by inheritance.
void dropBoundingSet(const ChildPlan& plan) {
  for (int capability = 0; capability < 64; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL && capability > CAP_AUDIT_READ) break;  // past the kernel's last one
    giveUp(plan, Step::bounding_set);
  }
  constexpr int kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
                        SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                        SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (::prctl(PR_SET_SECUREBITS, kBits, 0, 0, 0) != 0) giveUp(plan, Step::securebits);
}

void setUser(const ChildPlan& plan) {
  const auto& order = plan.order;
  if (::syscall(SYS_setgroups, order.groups.size(), order.groups.data()) != 0) giveUp(plan, Step::groups);
  if (::syscall(SYS_setresgid, order.gid, order.gid, order.gid) != 0) giveUp(plan, Step::gid);
  if (::syscall(SYS_setresuid, order.uid, order.uid, order.uid) != 0) giveUp(plan, Step::uid);
}

void dropCapabilities(const ChildPlan& plan) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capset, &header, &none) != 0) giveUp(plan, Step::capabilities);
  // Until execveat this process still holds the spawner's memory, with what other launches were given. A
  // health check of the same user must not be able to look into it.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) giveUp(plan, Step::capabilities);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) giveUp(plan, Step::no_new_privs);
}

/// As the user who will be there, so that a folder which it may not enter is found now.
void enterWorkingDir(const ChildPlan& plan) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const char* path = plan.order.workingDir.c_str();
  const int folder = static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
  if (folder < 0 || ::fchdir(folder) != 0) giveUp(plan, Step::working_dir);
  ::close(folder);
  char where[PATH_MAX];
  if (::getcwd(where, sizeof where) == nullptr) giveUp(plan, Step::working_dir);
  if (where[0] != '/') {
    errno = EXDEV;
    giveUp(plan, Step::working_dir);
  }
}

void loadFilter(const ChildPlan& plan) {
  // SPEC_ALLOW: without it kernels before 5.16 slow every filtered program down; runtimes set it too.
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &plan.filter) != 0) {
    giveUp(plan, Step::seccomp);
  }
}

}  // namespace

void becomeUser(const ChildPlan& plan) {
  leaveSession(plan);
  dropBoundingSet(plan);
  setUser(plan);
  dropCapabilities(plan);
  enterWorkingDir(plan);
  loadFilter(plan);
}

}  // namespace fallbackd::launcher
