// SPDX-License-Identifier: Apache-2.0
// The fallback binary of the kernel tests. Its first argument selects what it does; it prints what it sees
// from inside, one "KEY VALUE" per line.
#include "probe.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

void waitForever() {
  for (;;) ::pause();
}

/// Exits with 0 at SIGTERM. As pid 1 it needs a handler for that.
int serveUntilTerm() {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &term, nullptr);
  std::puts("up");
  std::fflush(stdout);
  int number = 0;
  ::sigwait(&term, &number);
  std::puts("bye");
  return 0;
}

int listenOn(const char* port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<unsigned short>(std::atoi(port)));
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 8) != 0) {
    std::perror("listen");
    return 1;
  }
  std::puts("up");
  std::fflush(stdout);
  for (;;) ::close(::accept(listener, nullptr, nullptr));
}

/// Starts a grandchild in its own session, as a daemon does to escape. Returns once it exists.
void leaveDaemonBehind() {
  int up[2];
  if (::pipe(up) != 0) ::_exit(65);
  if (::fork() == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    std::puts("daemon left behind");
    std::fflush(stdout);
    if (::write(up[1], "u", 1) != 1) ::_exit(65);
    waitForever();
  }
  char byte = 0;
  if (::read(up[0], &byte, 1) != 1) ::_exit(65);
}

int createFile(const char* path) {
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  return fd >= 0 ? 0 : 1;
}

/// A command that a probe runs beside the fallback. Only its exit code is visible outside.
int answer(const std::string& what, const char* value) {
  if (what == "exists") return ::access(value, F_OK) == 0 ? 0 : 1;
  if (what == "uid") return static_cast<int>(::getuid()) == std::atoi(value) ? 0 : 1;
  if (what == "alone") return ::kill(std::atoi(value), 0) == 0 ? 1 : 0;
  if (what == "silent") {  // a pipe or a full disk behind stdout would make it wait or fail
    const std::string line(1 << 20, 'x');
    return ::write(STDOUT_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size()) ? 0 : 1;
  }
  if (what == "hang") {
    leaveDaemonBehind();
    if (createFile(value) != 0) return 1;
    waitForever();
  }
  return 64;
}

int healthCheck(const std::string& how) {
  if (how == "fail") {
    std::puts("not healthy today");
    return 7;
  }
  if (how == "crash") std::abort();
  if (how == "hang") waitForever();
  if (how == "daemon") leaveDaemonBehind();
  if (how == "descriptors") {
    for (int fd = 3; fd < 4096; ++fd) {
      if (::fcntl(fd, F_GETFD) >= 0) return 8;
    }
  }
  if (how == "peek") {  // into the process that waits to become the binary
    for (const char* path : {"/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/fd/3"}) {
      if (::open(path, O_RDONLY | O_CLOEXEC) >= 0) return 9;
    }
    if (::ptrace(PTRACE_ATTACH, 1, nullptr, nullptr) == 0) return 10;
  }
  if (how == "masks") {
    char byte = 0;
    const int fd = ::open("/proc/timer_list", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && ::read(fd, &byte, 1) > 0) return 11;
  }
  if (how == "who") std::printf("health pid %d uid %d\n", ::getpid(), static_cast<int>(::getuid()));
  return 0;
}

/// Uses more memory than there is.
int hog() {
  for (;;) {
    constexpr std::size_t kChunk = 1 << 20;
    void* chunk = ::mmap(nullptr, kChunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED) return 1;
    std::memset(chunk, 1, kChunk);
  }
}

/// A child in its own session; both wait.
int haveFamily() {
  if (::fork() == 0) {
    ::setsid();
    std::puts("child up");
    std::fflush(stdout);
  }
  waitForever();
  return 0;
}

/// Opens /dev/stdout by name, as many programs do for their log.
int reopenOutput() {
  std::FILE* out = std::fopen("/dev/stdout", "we");
  if (out == nullptr) {
    std::perror("/dev/stdout");
    return 1;
  }
  std::fputs("again\n", out);
  std::fflush(out);
  waitForever();
  return 0;
}

int chatter(long lines) {
  for (long i = 0; i < lines; ++i) std::printf("line %ld\n", i);
  std::fflush(stdout);
  waitForever();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const char* value = argc > 2 ? argv[2] : "0";
  if (what == "--health-check") return healthCheck("");
  if (what.rfind("--health-check=", 0) == 0) return healthCheck(what.substr(15));
  if (what == "answer" && argc > 3) return answer(argv[2], argv[3]);
  if (what == "report") {
    probe::report(argc, argv);
    waitForever();
  }
  if (what == "attack") {
    probe::attack();
    waitForever();
  }
  if (what == "world") {
    probe::world();
    waitForever();
  }
  if (what == "filter") {
    probe::filter();
    waitForever();
  }
  if (what == "escape" && argc > 2) {
    if (!probe::escape(argv[2], argv + 3)) return 64;
    waitForever();
  }
  if (what == "wait") waitForever();
  if (what == "term") return serveUntilTerm();
  if (what == "listen") return listenOn(value);
  if (what == "exit") return std::atoi(value);
  if (what == "crash") __builtin_trap();  // raise() would do nothing: pid 1 has no default actions
  if (what == "hog") return hog();
  if (what == "reopen") return reopenOutput();
  if (what == "family") return haveFamily();
  if (what == "lines") return chatter(std::atol(value));
  if (what == "partial") {
    std::fputs("no newline", stdout);
    std::fputs("to stderr\n", stderr);
    return 0;
  }
  return 64;
}
