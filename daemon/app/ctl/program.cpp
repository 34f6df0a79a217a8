// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/program.hpp"

#include "sys/fd.hpp"
#include "sys/file.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fallbackd::ctl {

namespace {

/// posix_spawn's list of descriptor operations.
struct FileActions {
  FileActions() { ::posix_spawn_file_actions_init(&list); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { ::posix_spawn_file_actions_destroy(&list); }
  posix_spawn_file_actions_t list{};
};

/// Starts the program with `out` as its standard output.
Result<pid_t> startProgram(const std::vector<std::string>& argv, int out) {
  FileActions actions;
  ::posix_spawn_file_actions_addopen(&actions.list, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions.list, out, STDOUT_FILENO);
  std::vector<std::string> words = argv;
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  const int code = ::posix_spawnp(&pid, pointers[0], &actions.list, nullptr, pointers.data(), environ);
  if (code == ENOENT) {
    return fail(Stage::cli, Reason::not_found, argv[0] + " is not installed: apt-get install " + argv[0]);
  }
  if (code != 0) return failErrno(Stage::cli, "start " + argv[0], code);
  return pid;
}

Result<> endOf(pid_t pid, const std::string& name) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(Stage::cli, Reason::invalid, name + " failed (see above)");
}

}  // namespace

Result<std::string> runProgram(const std::vector<std::string>& argv, std::size_t maxOutput) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failErrno(Stage::cli, "pipe");
  sys::UniqueFd out(ends[0]);
  sys::UniqueFd in(ends[1]);
  FB_TRY(const auto pid, startProgram(argv, in.get()));
  in.reset();
  auto text = sys::readAll(Stage::cli, out, maxOutput, "the output of " + argv[0]);
  // A program that writes more would wait for a reader for ever, and we for its end.
  out.reset();
  const auto ended = endOf(pid, argv[0]);
  if (text) FB_CHECK(ended);
  return text;
}

Result<> showProgram(const std::vector<std::string>& argv) {
  FB_TRY(const auto pid, startProgram(argv, STDERR_FILENO));
  return endOf(pid, argv[0]);
}

}  // namespace fallbackd::ctl
