// SPDX-License-Identifier: Apache-2.0
// Ways out of the pod. Each one tries several calls and counts as an escape if one of them works.
#include "probe.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace probe {

namespace {

std::string escapedBy;
std::string firstRefusal;

/// Records what worked, and the first refusal.
void attempt(const std::string& what, long result) {
  if (result >= 0) {
    escapedBy += (escapedBy.empty() ? "" : ", ") + what;
  } else if (firstRefusal.empty()) {
    firstRefusal = what + ": " + std::strerror(errno);
  }
}

/// For checks that are not failing calls: `bad` means an escape.
void expectNot(const std::string& what, bool bad) {
  if (bad) {
    escapedBy += (escapedBy.empty() ? "" : ", ") + what;
  } else if (firstRefusal.empty()) {
    firstRefusal = what + ": no";
  }
}

long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  return ::syscall(number, a, b, c, d, e);
}

long open(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd >= 0) ::close(fd);
  return fd;
}

long writeTo(const std::string& path, const char* text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  const long wrote = ::write(fd, text, std::strlen(text));
  const int error = errno;
  ::close(fd);
  errno = error;
  return wrote;
}

void descriptors(char**) {
  for (int fd = 3; fd < 4096; ++fd) {
    const bool isOpen = ::fcntl(fd, F_GETFD) >= 0;
    if (isOpen) attempt("descriptor " + std::to_string(fd), 0);
  }
  errno = EBADF;
  attempt("descriptors 3 to 4095", -1);
}

void otherProcesses(char**) {
  DIR* folder = ::opendir("/proc");
  while (const dirent* entry = folder != nullptr ? ::readdir(folder) : nullptr) {
    const int pid = std::atoi(entry->d_name);
    if (pid > 0) expectNot("see process " + std::to_string(pid), pid != ::getpid());
  }
  struct stat root {};
  struct stat init {};
  ::stat("/", &root);
  ::stat("/proc/1/root", &init);
  expectNot("/proc/1/root is a different root", root.st_dev != init.st_dev || root.st_ino != init.st_ino);
  for (const char* path : {"/proc/1/root/etc/shadow", "/proc/1/root/../../../etc/shadow",
                           "/proc/1/cwd/etc/shadow", "/proc/2/root", "/proc/self/root/../etc/shadow"}) {
    attempt(std::string("open ") + path, open(path, O_RDONLY));
  }
}

/// Writes to our own program: now and, in a second stage as a different program, when nothing executes it any
/// more.
void selfExe(char** arguments) {
  const bool second = arguments[0] != nullptr && std::strcmp(arguments[0], "second") == 0;
  const int held = second ? 9 : ::open("/proc/self/exe", O_RDONLY);
  for (const std::string& path : {std::string("/proc/self/exe"), "/proc/self/fd/" + std::to_string(held)}) {
    if (second && path == "/proc/self/exe") continue;  // the copy, which is ours
    attempt("write to " + path, writeTo(path, "#!"));
    static_cast<void>(::chmod(path.c_str(), 0777));  // harmless by itself
    attempt("write after chmod to " + path, writeTo(path, "#!"));
    attempt("truncate " + path, ::truncate(path.c_str(), 0));
    attempt("truncating open of " + path, open(path, O_RDWR | O_TRUNC));
  }
  if (second) return;
  const int copy = ::open("/tmp/copy", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  while (::sendfile(copy, held, nullptr, 1 << 20) > 0) {
  }
  ::close(copy);
  ::dup2(held, 9);
  ::execl("/tmp/copy", "probe", "escape", "self-exe", "second", nullptr);
  std::printf("second stage: %s\n", std::strerror(errno));
  ::_exit(66);
}

void folder(char**) {
  char where[4096] = "?";
  expectNot("getcwd is outside", ::getcwd(where, sizeof where) == nullptr || where[0] != '/');
  attempt("relative way to the host", open("../../../../../../../../etc/shadow", O_RDONLY));
  for (int fd = 0; fd < 16; ++fd) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd) + "/../../../../etc/shadow";
    attempt("open " + path, open(path, O_RDONLY));
  }
}

void devices(char**) {
  const struct {
    const char* name;
    mode_t mode;
    unsigned major;
    unsigned minor;
  } wanted[] = {{"sda", S_IFBLK, 8, 0},
                {"loop0", S_IFBLK, 7, 0},
                {"mem", S_IFCHR, 1, 1},
                {"kmsg", S_IFCHR, 1, 11},
                {"fuse", S_IFCHR, 10, 229}};
  for (const auto& one : wanted) {
    for (const char* where : {"/tmp/", "/dev/shm/", "/dev/"}) {
      const std::string path = std::string(where) + one.name;
      attempt("mknod " + path, ::mknod(path.c_str(), one.mode | 0666, ::makedev(one.major, one.minor)));
      attempt("open " + path, open(path, O_RDONLY));
    }
  }
}

void mounts(char**) {
  ::mkdir("/tmp/m", 0755);
  for (const char* type : {"tmpfs", "proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "overlay", "bpf"}) {
    attempt(std::string("mount ") + type, ::mount("none", "/tmp/m", type, 0, nullptr));
  }
  attempt("bind /", ::mount("/", "/tmp/m", nullptr, MS_BIND | MS_REC, nullptr));
  attempt("remount / writable", ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  for (const char* mask : {"/proc/keys", "/proc/sys", "/proc/kcore", "/proc"}) {
    attempt(std::string("unmount ") + mask, ::umount2(mask, MNT_DETACH));
  }
  attempt("fsopen", raw(SYS_fsopen, reinterpret_cast<long>("tmpfs"), 0));
  attempt("open_tree", raw(SYS_open_tree, AT_FDCWD, reinterpret_cast<long>("/"), 1));
  attempt("move_mount", raw(SYS_move_mount, AT_FDCWD, reinterpret_cast<long>("/tmp"), AT_FDCWD,
                            reinterpret_cast<long>("/tmp/m"), 0));
  attempt("pivot_root", raw(SYS_pivot_root, reinterpret_cast<long>("/tmp"), reinterpret_cast<long>("/tmp")));
  attempt("chroot", ::chroot("/tmp"));
}

void namespaces(char**) {
  for (const int flag : {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS,
                         CLONE_NEWCGROUP}) {
    attempt("unshare", ::unshare(flag));
    const long pid = ::syscall(SYS_clone, flag | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (pid == 0) ::_exit(0);
    attempt("clone", pid);
  }
  attempt("clone3", raw(SYS_clone3, 0, 0));
  for (const char* kind : {"net", "ipc", "uts", "pid", "mnt", "user", "cgroup"}) {
    for (const char* whose : {"/proc/1/ns/", "/proc/self/ns/"}) {
      const int fd = ::open((std::string(whose) + kind).c_str(), O_RDONLY | O_CLOEXEC);
      attempt(std::string("setns ") + kind, ::setns(fd, 0));
      if (fd >= 0) ::close(fd);
    }
  }
  const int self = static_cast<int>(raw(SYS_pidfd_open, ::getpid(), 0));
  attempt("setns by pidfd", ::setns(self, CLONE_NEWNS | CLONE_NEWNET));
}

/// ARGUMENTS: pids as seen by the host.
void daemonsMemory(char** arguments) {
  char byte = 0;
  const iovec local{&byte, 1};
  const iovec remote{reinterpret_cast<void*>(0x400000), 1};
  for (; *arguments != nullptr; ++arguments) {
    const auto pid = static_cast<pid_t>(std::atoi(*arguments));
    const std::string name = "process " + std::to_string(pid);
    attempt("attach to " + name, ::ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
    attempt("seize " + name, ::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr));
    attempt("read " + name, ::process_vm_readv(pid, &local, 1, &remote, 1, 0));
    attempt("write " + name, ::process_vm_writev(pid, &local, 1, &remote, 1, 0));
    attempt("pidfd of " + name, raw(SYS_pidfd_open, pid, 0));
    attempt("signal " + name, ::kill(pid, 0));
    attempt("memory of " + name, open("/proc/" + std::to_string(pid) + "/mem", O_RDWR));
  }
}

void killAll(char**) {
  attempt("kill -1", ::kill(-1, SIGKILL));
  attempt("kill the group", ::kill(-2, SIGKILL));
}

/// ARGUMENTS: the path of a socket, the name of an abstract one.
void hostSockets(char** arguments) {
  for (int i = 0; arguments[i] != nullptr; ++i) {
    const bool abstract = i > 0;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path + (abstract ? 1 : 0), arguments[i], sizeof address.sun_path - 2);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(arguments[i]) +
                                             (abstract ? 1 : 0));
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    attempt(std::string("connect to ") + (abstract ? "@" : "") + arguments[i],
            ::connect(fd, reinterpret_cast<const sockaddr*>(&address), size));
    ::close(fd);
  }
  for (const char* path :
       {"/run/containerd/containerd.sock", "/var/run/docker.sock", "/run/fallbackd/fallbackd.sock",
        "/run/systemd/private", "/run/dbus/system_bus_socket"}) {
    attempt(std::string("open ") + path, open(path, O_PATH));
  }
}

void keyrings(char**) {
  for (const long ring : {-1L, -2L, -3L, -4L, -5L}) {
    attempt("keyring " + std::to_string(ring), raw(SYS_keyctl, KEYCTL_GET_KEYRING_ID, ring, 0));
    attempt("search", raw(SYS_keyctl, KEYCTL_SEARCH, ring, reinterpret_cast<long>("user"),
                          reinterpret_cast<long>("fallbackd-test")));
  }
  attempt("add_key", raw(SYS_add_key, reinterpret_cast<long>("user"), reinterpret_cast<long>("x"),
                         reinterpret_cast<long>("y"), 1, -3));
  attempt("request_key", raw(SYS_request_key, reinterpret_cast<long>("user"),
                             reinterpret_cast<long>("fallbackd-test"), 0, 0));
  char byte = 0;
  const int fd = ::open("/proc/keys", O_RDONLY | O_CLOEXEC);
  expectNot("/proc/keys is not empty", fd >= 0 && ::read(fd, &byte, 1) > 0);
}

void sessionKey(char**) {
  attempt("search the session keyring", raw(SYS_keyctl, KEYCTL_SEARCH, -3, reinterpret_cast<long>("user"),
                                            reinterpret_cast<long>("fallbackd-test")));
}

void cgroups(char**) {
  for (const char* path :
       {"/sys/fs/cgroup", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs",
        "/proc/self/root/sys/fs/cgroup", "/tmp/m/release_agent"}) {
    attempt(std::string("open ") + path, open(path, O_RDONLY));
  }
  attempt("mount cgroup", ::mount("none", "/tmp", "cgroup", 0, "memory"));
  attempt("mount cgroup2", ::mount("none", "/tmp", "cgroup2", 0, nullptr));
  attempt("new cgroup namespace", ::unshare(CLONE_NEWCGROUP));
  std::FILE* file = std::fopen("/proc/self/cgroup", "re");
  char line[4096];
  while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
    expectNot("cgroup outside of the leaf", std::strstr(line, ":/\n") == nullptr);
  }
}

void kernelFiles(char**) {
  for (const char* path :
       {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/drop_caches", "/proc/sys/fs/suid_dumpable",
        "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/fs", "/proc/bus",
        "/sys/kernel/uevent_helper"}) {
    attempt(std::string("write ") + path, writeTo(path, "|/tmp/copy"));
  }
  for (const char* path : {"/proc/sys/kernel/core_pattern", "/proc/keys", "/etc/passwd", "/etc/app"}) {
    attempt(std::string("chmod ") + path, ::chmod(path, 0777));
  }
  for (const char* path : {"/kcore", "/x", "/etc/x", "/proc/x", "/dev/x", "/sys/x"}) {
    attempt(std::string("create ") + path, open(path, O_WRONLY | O_CREAT));
  }
}

/// Checks what the masks are made of, and whether we control it.
void masks(char**) {
  attempt("unlink /dev/null", ::unlink("/dev/null"));
  attempt("rename /dev/null", ::rename("/dev/null", "/dev/x"));
  attempt("link over /dev/null", ::symlink("/proc/self/mem", "/dev/null"));
  attempt("rename onto /dev/null", ::rename("/tmp", "/dev/null"));
  for (const char* path : {"/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/latency_stats"}) {
    struct stat info {};
    if (::stat(path, &info) != 0) continue;
    expectNot(std::string(path) + " is not the null device",
              !S_ISCHR(info.st_mode) || info.st_rdev != ::makedev(1, 3));
    char byte = 0;
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    expectNot(std::string(path) + " is not empty", fd >= 0 && ::read(fd, &byte, 1) > 0);
    if (fd >= 0) ::close(fd);
  }
}

void terminals(char**) {
  char letter = 'x';
  for (int fd = 0; fd < 3; ++fd) {
    attempt("TIOCSTI", ::ioctl(fd, TIOCSTI, &letter));
    attempt("TIOCSCTTY", ::ioctl(fd, TIOCSCTTY, 1));
    attempt("TIOCLINUX", ::ioctl(fd, TIOCLINUX, &letter));
  }
  for (const char* path : {"/dev/tty", "/dev/console", "/dev/tty0", "/dev/ptmx", "/dev/pts/0"}) {
    attempt(std::string("open ") + path, open(path, O_RDWR));
  }
}

void kernelSurface(char**) {
  char buffer[64] = {};
  const auto at = reinterpret_cast<long>(buffer);
  attempt("bpf", raw(SYS_bpf, 0, at, sizeof buffer));
  attempt("perf_event_open", raw(SYS_perf_event_open, at, 0, -1, -1, 0));
  attempt("userfaultfd", raw(SYS_userfaultfd, 1));
  attempt("io_uring_setup", raw(SYS_io_uring_setup, 1, at));
  attempt("open_by_handle_at", raw(SYS_open_by_handle_at, AT_FDCWD, at, 0));
  attempt("name_to_handle_at", raw(SYS_name_to_handle_at, AT_FDCWD, reinterpret_cast<long>("/"), at, at, 0));
  attempt("init_module", raw(SYS_init_module, at, 1, at));
  attempt("finit_module", raw(SYS_finit_module, 0, at, 0));
  attempt("kexec_load", raw(SYS_kexec_load, 0, 0, 0, 0));
  attempt("reboot", raw(SYS_reboot, 0, 0, 0, 0));
  attempt("swapon", raw(SYS_swapon, at, 0));
  attempt("acct", raw(SYS_acct, 0));
  attempt("syslog", raw(SYS_syslog, 3, at, sizeof buffer));
  attempt("settimeofday", raw(SYS_settimeofday, at, 0));
  attempt("sethostname", ::sethostname("evil", 4));
  attempt("fanotify_init", raw(SYS_fanotify_init, 0, 0));
  attempt("quotactl", raw(SYS_quotactl, 0, 0, 0, at));
  attempt("iopl", raw(SYS_iopl, 3));
  attempt("a call of the future", raw(463));
  attempt("x32's mount", raw(0x40000000 | SYS_mount, at, at, at, 0, 0));
#if defined(__x86_64__)
  // i386's unshare(CLONE_NEWUSER), through the 32-bit entry point. Kernels without it kill the caller.
  const int knocker = ::fork();
  if (knocker == 0) {
    long result = 310;
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
    ::_exit(result < 0 ? 1 : 0);
  }
  int ended = 0;
  ::waitpid(knocker, &ended, 0);
  expectNot("i386's unshare", WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
#endif
}

void privileges(char**) {
  const uid_t before = ::getuid();
  if (before != 0) attempt("setuid 0", ::setuid(0));
  if (before != 0) attempt("setgid 0", ::setgid(0));
  const gid_t group = 4;
  attempt("setgroups", ::syscall(SYS_setgroups, 1, &group));
  attempt("setuid 1", ::setuid(before == 1 ? 2 : 1));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct all[2] = {{~0U, ~0U, ~0U}, {~0U, ~0U, ~0U}};
  attempt("capset", raw(SYS_capset, reinterpret_cast<long>(&header), reinterpret_cast<long>(&all)));
  attempt("ambient capability", ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
  attempt("securebits", ::prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
  expectNot("no_new_privs is off", ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1);
  attempt("raw socket", ::socket(AF_INET, SOCK_RAW, 1));
  attempt("packet socket", ::socket(AF_PACKET, SOCK_RAW, 0));
  attempt("vsock", ::socket(AF_VSOCK, SOCK_STREAM, 0));
  attempt("vsock, with bits that the kernel ignores", raw(SYS_socket, AF_VSOCK | (1L << 32), SOCK_STREAM, 0));
}

void limits(char**) {
  for (const auto resource : {RLIMIT_NOFILE, RLIMIT_CORE}) {
    rlimit limit{};
    ::getrlimit(resource, &limit);
    if (limit.rlim_max == RLIM_INFINITY) continue;
    limit.rlim_cur = ++limit.rlim_max;
    attempt("raise a limit", ::setrlimit(resource, &limit));
  }
  const sched_param priority{1};
  attempt("real-time", ::sched_setscheduler(0, SCHED_FIFO, &priority));
  attempt("nice", ::setpriority(PRIO_PROCESS, 0, -5));
  attempt("oom_score_adj", writeTo("/proc/self/oom_score_adj", "-1000"));
}

/// ARGUMENTS: files that are symlinks to the host's files, as in a hostile volume.
void volumeLinks(char** arguments) {
  for (; *arguments != nullptr; ++arguments) {
    attempt(std::string("open ") + *arguments, open(*arguments, O_RDONLY));
  }
}

/// Standard output is a FIFO of the host: in here its name leads nowhere.
void logs(char**) {
  for (const char* fd : {"/proc/self/fd/1", "/proc/self/fd/2"}) {
    char target[4096] = {};
    if (::readlink(fd, target, sizeof target - 1) < 0) continue;
    attempt("open the name of the FIFO", open(target, O_RDWR));
    attempt("replace the FIFO", ::symlink("/etc/shadow", target));
    attempt("unlink the FIFO", ::unlink(target));
    attempt("create a file beside the FIFO", open(std::string(fd) + "/../stdin", O_WRONLY | O_CREAT));
  }
}

}  // namespace

bool escape(const std::string& name, char** arguments) {
  const struct {
    const char* name;
    void (*tryIt)(char**);
  } ways[] = {{"descriptors", descriptors},
              {"proc-root", otherProcesses},
              {"self-exe", selfExe},
              {"cwd", folder},
              {"mknod", devices},
              {"mount", mounts},
              {"namespaces", namespaces},
              {"ptrace", daemonsMemory},
              {"kill", killAll},
              {"sockets", hostSockets},
              {"keyrings", keyrings},
              {"session-key", sessionKey},
              {"cgroups", cgroups},
              {"kernel-files", kernelFiles},
              {"masks", masks},
              {"terminals", terminals},
              {"surface", kernelSurface},
              {"privileges", privileges},
              {"limits", limits},
              {"volume-links", volumeLinks},
              {"logs", logs}};
  for (const auto& way : ways) {
    if (name != way.name) continue;
    way.tryIt(arguments);
    std::printf("refused %s\n", firstRefusal.c_str());
    std::printf("escaped %s\n", escapedBy.c_str());
    std::puts("end");
    std::fflush(stdout);
    return true;
  }
  return false;
}

}  // namespace probe
