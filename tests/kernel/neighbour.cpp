// SPDX-License-Identifier: Apache-2.0
#include "neighbour.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace fallbackd::test {

using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 20s;

pid_t forkBare() {
  return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

/// As root of its namespace, with only these capabilities.
bool keepOnly(std::uint64_t capabilities) {
  for (int one = 0; one < 64; ++one) {
    if ((capabilities >> one & 1U) == 0 && ::prctl(PR_CAPBSET_DROP, one, 0, 0, 0) != 0 && errno != EINVAL)
      return false;
  }
  return true;  // executing a program as root grants the bounding set
}

/// Opens program and report first: the neighbour may be unable to reach either path.
[[noreturn]] void beNeighbour(pid_t pause, std::uint64_t capabilities, bool joinUsers, char* const* argv,
                              const char* report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int program = ::open(argv[0], O_PATH | O_CLOEXEC);
  const int out = ::open(report, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (program < 0 || out < 0 || ::dup2(out, STDOUT_FILENO) < 0) ::_exit(2);
  const int sandbox = static_cast<int>(::syscall(SYS_pidfd_open, pause, 0));
  const int kinds = CLONE_NEWNS | CLONE_NEWPID | (joinUsers ? CLONE_NEWUSER : 0);
  if (sandbox < 0 || ::setns(sandbox, kinds) != 0) ::_exit(3);
  if (joinUsers && (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)) ::_exit(4);
  const pid_t inner = forkBare();
  if (inner == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!keepOnly(capabilities)) ::_exit(5);
    ::syscall(SYS_execveat, program, "", argv, environ, AT_EMPTY_PATH);
    ::_exit(6);
  }
  ::waitpid(inner, nullptr, 0);
  ::_exit(0);
}

}  // namespace

Neighbour::Neighbour(const FakeSandbox& sandbox, std::uint64_t capabilities,
                     const std::vector<std::string>& arguments, std::filesystem::path report)
    : report_(std::move(report)) {
  std::vector<std::string> words{FALLBACKD_TEST_ATTACKER};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::ofstream(report_) << "";
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const bool joinUsers = namespaceLink(sandbox.pause(), "user") != namespaceLink(::getpid(), "user");
  outer_ = forkBare();
  if (outer_ == 0) beNeighbour(sandbox.pause(), capabilities, joinUsers, argv.data(), report_.c_str());
  // Polls: waiting for an event of the file is not worth the effort.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!ready_ && std::chrono::steady_clock::now() < deadline) {
    std::ifstream lines(report_);
    std::string first;
    ready_ = static_cast<bool>(std::getline(lines, first)) && first == "ready";
    if (!ready_) std::this_thread::sleep_for(1ms);
  }
}

Neighbour::~Neighbour() {
  end();
}

void Neighbour::end() {
  if (outer_ <= 0) return;
  ::kill(outer_, SIGKILL);
  ::waitpid(outer_, nullptr, 0);
  outer_ = 0;
}

std::vector<std::string> Neighbour::finish() {
  end();
  std::vector<std::string> lines;
  std::ifstream file(report_);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

}  // namespace fallbackd::test
