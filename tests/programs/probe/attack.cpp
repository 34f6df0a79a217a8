// SPDX-License-Identifier: Apache-2.0
#include "probe.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace probe {

namespace {

void print(const char* name, long result) {
  std::printf("try.%s %d\n", name, result < 0 ? errno : 0);
}

long cloneWith(unsigned long flags) {
  const long pid = ::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) ::_exit(0);
  return pid;
}

}  // namespace

void attack() {
  print("mount", ::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr));
  print("umount", ::umount2("/proc", MNT_DETACH));
  print("remount", ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  print("unshare", ::unshare(CLONE_NEWUSER));
  print("clone.newuser", cloneWith(CLONE_NEWUSER | SIGCHLD));
  print("clone.newns", cloneWith(CLONE_NEWNS | SIGCHLD));
  print("clone3", ::syscall(SYS_clone3, nullptr, 0));
  print("setns", ::syscall(SYS_setns, 0, 0));
  print("chroot", ::chroot("/tmp"));
  print("pivot_root", ::syscall(SYS_pivot_root, "/", "/tmp"));
  print("mknod", ::mknod("/tmp/sda", S_IFBLK | 0666, ::makedev(8, 0)));
  print("bpf", ::syscall(SYS_bpf, 0, nullptr, 0));
  print("perf_event_open", ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
  print("io_uring_setup", ::syscall(SYS_io_uring_setup, 1, nullptr));
  print("keyctl", ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0));
  print("add_key", ::syscall(SYS_add_key, "user", "x", "y", 1, -3));
  print("userfaultfd", ::syscall(SYS_userfaultfd, 0));
  print("open_by_handle_at", ::syscall(SYS_open_by_handle_at, 0, nullptr, 0));
  print("kexec_load", ::syscall(SYS_kexec_load, 0, 0, nullptr, 0));
  print("init_module", ::syscall(SYS_init_module, nullptr, 0, ""));
  print("reboot", ::syscall(SYS_reboot, 0, 0, 0, nullptr));
  print("vsock", ::socket(AF_VSOCK, SOCK_STREAM, 0));
  print("personality.norandom", ::personality(ADDR_NO_RANDOMIZE));
  print("personality.query", ::personality(0xffffffff));
  print("setuid", ::setuid(0));
  print("unknown.463", ::syscall(463, 0, 0, 0, 0));
  print("unknown.900", ::syscall(900));
  print("proc1.root", ::open("/proc/1/root/../../etc/shadow", O_RDONLY | O_CLOEXEC));
  print("self.exe", ::open("/proc/self/exe", O_WRONLY | O_CLOEXEC));
  print("kill.all", ::kill(-1, 0));
  print("sethostname", ::sethostname("evil", 4));
  print("fork", cloneWith(SIGCHLD));
  std::puts("end");
  std::fflush(stdout);
}

/// Tries each value of a rule alone and combined with others, and what must keep working.
void filter() {
  const struct {
    const char* name;
    unsigned long flag;
  } flags[] = {{"newns", CLONE_NEWNS},   {"newcgroup", CLONE_NEWCGROUP}, {"newuts", CLONE_NEWUTS},
               {"newipc", CLONE_NEWIPC}, {"newuser", CLONE_NEWUSER},     {"newpid", CLONE_NEWPID},
               {"newnet", CLONE_NEWNET}};
  const auto refused = [](const std::string& name, long result) {
    std::printf("refused %s %d\n", name.c_str(), result < 0 ? errno : 0);
  };
  const auto allowed = [](const std::string& name, long result) {
    std::printf("allowed %s %d\n", name.c_str(), result < 0 ? errno : 0);
  };
  unsigned long all = 0;
  for (const auto& one : flags) {
    refused(std::string("clone.") + one.name, cloneWith(one.flag | SIGCHLD));
    all |= one.flag;
    for (const auto& other : flags) {
      if (&other > &one)
        refused(std::string("clone.") + one.name + "+" + other.name,
                cloneWith(one.flag | other.flag | SIGCHLD));
    }
  }
  refused("clone.all", cloneWith(all | SIGCHLD));
  // The kernel looks at the lower half only; a rule that compares both halves would miss it.
  constexpr long kHigh = 1L << 32;
  for (const long high : {0L, kHigh, kHigh << 31, ~0L << 32}) {
    refused("socket.vsock", ::syscall(SYS_socket, AF_VSOCK | high, SOCK_STREAM, 0));
    refused("personality.norandom", ::syscall(SYS_personality, ADDR_NO_RANDOMIZE | high));
  }
  allowed("fork", cloneWith(SIGCHLD));
  allowed("vfork", cloneWith(CLONE_VFORK | SIGCHLD));
  allowed("clone.files", cloneWith(CLONE_FILES | CLONE_FS | SIGCHLD));
  for (const int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) {
    const int fd = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    allowed("socket." + std::to_string(family), fd);
    if (fd >= 0) ::close(fd);
  }
  for (const unsigned long value : {0x0UL, 0x8UL, 0x20000UL, 0x20008UL, 0xffffffffUL}) {
    allowed("personality." + std::to_string(value), ::personality(value));
    static_cast<void>(::personality(0));
  }
  std::puts("end");
  std::fflush(stdout);
}

}  // namespace probe
