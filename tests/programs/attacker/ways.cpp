// SPDX-License-Identifier: Apache-2.0
// Linux's ways into another process. None of them changes anything in the victim.
#include "attacker.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace attacker {

namespace {

int openedFile(pid_t pid, const char* name, int flags) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

/// Reads memory at the program's own address. The stack's address would also work, but only a process that
/// may trace sees it in "stat". EFAULT means that only the address is wrong.
int readMemory(pid_t pid, int /*pidfd*/) {
  std::array<char, 8> bytes{};
  const iovec local{bytes.data(), bytes.size()};
  const iovec remote{reinterpret_cast<void*>(0x1000), bytes.size()};  // NOLINT(performance-no-int-to-ptr)
  if (::process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0) return 0;
  return errno == EFAULT ? 0 : errno;
}

int seize(pid_t pid, int /*pidfd*/) {
  return ::ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACEEXEC) == 0 ? 0 : errno;
}

int takeDescriptor(pid_t /*pid*/, int pidfd) {
  int first = ESRCH;
  for (int number = 0; number < 8; ++number) {
    const long fd = ::syscall(SYS_pidfd_getfd, pidfd, number, 0);
    if (fd >= 0) {
      ::close(static_cast<int>(fd));
      return 0;
    }
    if (errno != EBADF) first = errno;
  }
  return first;
}

int signalIt(pid_t pid, int /*pidfd*/) {
  return ::kill(pid, SIGWINCH) == 0 ? 0 : errno;  // ignored by default
}

int signalByDescriptor(pid_t /*pid*/, int pidfd) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, SIGWINCH, nullptr, 0) == 0 ? 0 : errno;
}

int openMemory(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "mem", O_RDWR);
}

int openFds(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "fd", O_RDONLY | O_DIRECTORY);
}

int openRoot(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "root", O_RDONLY | O_DIRECTORY);
}

int openCwd(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "cwd", O_RDONLY | O_DIRECTORY);
}

int openExe(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "exe", O_RDONLY);
}

int openEnvironment(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "environ", O_RDONLY);
}

int openMountNamespace(pid_t pid, int /*pidfd*/) {
  return openedFile(pid, "ns/mnt", O_RDONLY);
}

}  // namespace

const std::vector<Way>& ways() {
  static const std::vector<Way> all{
      {"seize", &seize, true},
      {"process_vm_readv", &readMemory, false},
      {"mem", &openMemory, false},
      {"fd", &openFds, false},
      {"root", &openRoot, false},
      {"cwd", &openCwd, false},
      {"exe", &openExe, false},
      {"environ", &openEnvironment, false},
      {"ns", &openMountNamespace, false},
      {"pidfd_getfd", &takeDescriptor, false},
      {"kill", &signalIt, false},
      {"pidfd_send_signal", &signalByDescriptor, false},
  };
  return all;
}

}  // namespace attacker
