// SPDX-License-Identifier: Apache-2.0
// Child processes of a test: output goes to a file, waits have a deadline, kills use a pidfd.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::e2e {

struct Command {
  std::vector<std::string> argv;           // argv[0] is looked up in PATH
  std::map<std::string, std::string> env;  // added to ours
  std::filesystem::path output;            // stdout and stderr are appended here; empty: ours
};

/// How a process ended: its exit code, or 128 + signal as in a shell.
using ExitCode = int;

/// Owned by one thread. The destructor kills (SIGKILL) and reaps the process.
class ChildProcess {
 public:
  static Result<ChildProcess> start(const Command& command);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();
  void signal(int number) const;
  /// Reason timeout if it is still running after `deadline`. May be called again after the end.
  Result<ExitCode> wait(std::chrono::milliseconds deadline);
  /// SIGTERM, then SIGKILL if it has not ended within `grace`.
  Result<ExitCode> stop(std::chrono::milliseconds grace = std::chrono::seconds(10));

 private:
  ChildProcess(pid_t pid, sys::PidFd pidfd, std::string name);
  void killAndReap();

  pid_t pid_ = 0;
  sys::PidFd pidfd_;
  std::string name_;
  std::optional<ExitCode> ended_;
};

/// Where /proc/PID/ns/KIND leads, for example "net:[4026531840]"; throws if the process is gone.
std::string namespaceLink(pid_t pid, const std::string& kind);

struct Output {
  ExitCode code = 0;
  std::string text;  // stdout and stderr, interleaved
};

/// Runs a command to its end.
Result<Output> run(const Command& command, std::chrono::milliseconds deadline = std::chrono::seconds(60));

/// The same, but an exit code other than 0 is an error with the output's text.
Result<std::string> runOk(const Command& command,
                          std::chrono::milliseconds deadline = std::chrono::seconds(60));

/// The ExitCode for waitpid's status.
ExitCode exitCodeOf(int waitStatus);

}  // namespace fallbackd::e2e
