// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include "run_dir.hpp"
#include "sys/file.hpp"

#include <csignal>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::e2e {

namespace {

constexpr std::size_t kMaxOutput = 64 << 20;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> environmentWith(const std::map<std::string, std::string>& added) {
  std::vector<std::string> out;
  out.reserve(added.size());
  for (const auto& [name, value] : added) out.push_back(std::string(name).append("=").append(value));
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  return out;
}

/// posix_spawn's two parameter objects; always freed.
struct SpawnSetup {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
  }
};

}  // namespace

ExitCode exitCodeOf(int waitStatus) {
  return WIFSIGNALED(waitStatus) ? 128 + WTERMSIG(waitStatus) : WEXITSTATUS(waitStatus);
}

ChildProcess::ChildProcess(pid_t pid, sys::PidFd pidfd, std::string name)
    : pid_(pid), pidfd_(std::move(pidfd)), name_(std::move(name)) {}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::move(other.pidfd_)),
      name_(std::move(other.name_)),
      ended_(other.ended_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this == &other) return *this;
  killAndReap();
  pid_ = std::exchange(other.pid_, 0);
  pidfd_ = std::move(other.pidfd_);
  name_ = std::move(other.name_);
  ended_ = other.ended_;
  return *this;
}

ChildProcess::~ChildProcess() {
  killAndReap();
}

Result<ChildProcess> ChildProcess::start(const Command& command) {
  std::vector<std::string> argv = command.argv;
  std::vector<std::string> env = environmentWith(command.env);
  // The command is looked up in its own PATH: a test may use a different containerd.
  if (const auto path = command.env.find("PATH"); path != command.env.end()) {
    argv[0] = findProgram(argv[0], path->second);
  }
  SpawnSetup setup;
  ::posix_spawn_file_actions_addopen(&setup.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (!command.output.empty()) {
    ::posix_spawn_file_actions_addopen(&setup.actions, STDOUT_FILENO, command.output.c_str(),
                                       O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::posix_spawn_file_actions_adddup2(&setup.actions, STDOUT_FILENO, STDERR_FILENO);
  }
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&setup.attributes, &none);
  ::posix_spawnattr_setflags(&setup.attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, argv[0].c_str(), &setup.actions, &setup.attributes,
                                   pointers(argv).data(), pointers(env).data());
  if (error != 0) return fail(Stage::cli, Reason::system, "start " + command.argv[0], error);
  // By system call number: this version of the C library's header cannot be used from C++.
  sys::PidFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return ChildProcess(pid, std::move(pidfd), command.argv[0]);
}

bool ChildProcess::running() {
  return pid_ != 0 && !wait(std::chrono::milliseconds(0)).has_value();
}

void ChildProcess::signal(int number) const {
  if (!ended_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

Result<ExitCode> ChildProcess::wait(std::chrono::milliseconds deadline) {
  if (ended_) return *ended_;
  pollfd polled{pidfd_.get(), POLLIN, 0};
  if (::poll(&polled, 1, static_cast<int>(deadline.count())) <= 0) {
    return fail(Stage::cli, Reason::timeout, name_ + " is still running");
  }
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return failErrno(Stage::cli, "wait for " + name_);
  ended_ = exitCodeOf(status);
  return *ended_;
}

Result<ExitCode> ChildProcess::stop(std::chrono::milliseconds grace) {
  signal(SIGTERM);
  auto ended = wait(grace);
  if (ended) return ended;
  signal(SIGKILL);
  return wait(grace);
}

void ChildProcess::killAndReap() {
  if (pid_ == 0 || ended_) return;
  signal(SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = 0;
}

std::string namespaceLink(pid_t pid, const std::string& kind) {
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind);
}

Result<Output> run(const Command& command, std::chrono::milliseconds deadline) {
  Command toFile = command;
  const sys::UniqueFd fd(::memfd_create("output", MFD_CLOEXEC));
  if (!fd) return failErrno(Stage::cli, "make a file for the output of " + command.argv[0]);
  toFile.output = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
  FB_TRY(auto process, ChildProcess::start(toFile));
  const auto code = process.wait(deadline);
  FB_TRY(auto text, sys::readFile(Stage::cli, toFile.output, kMaxOutput));
  if (!code)
    return fail(Stage::cli, Reason::timeout, command.argv[0] + " is still running; its output: " + text);
  return Output{*code, std::move(text)};
}

Result<std::string> runOk(const Command& command, std::chrono::milliseconds deadline) {
  FB_TRY(auto output, run(command, deadline));
  if (output.code == 0) return std::move(output.text);
  std::string line;
  for (const auto& word : command.argv) line += word + " ";
  return fail(Stage::cli, Reason::exited,
              line + "exited with " + std::to_string(output.code) + ": " + output.text);
}

}  // namespace fallbackd::e2e
