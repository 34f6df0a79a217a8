// SPDX-License-Identifier: Apache-2.0
#include "sys/helper_program.hpp"

#include "sys/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <climits>

namespace fallbackd::sys {

namespace {

/// The posix_spawn arguments that have to be freed.
struct SpawnArguments {
  SpawnArguments() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  SpawnArguments(const SpawnArguments&) = delete;
  SpawnArguments& operator=(const SpawnArguments&) = delete;
  ~SpawnArguments() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

}  // namespace

std::string programBesideOurs(const std::string& name) {
  std::array<char, PATH_MAX> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string self(path.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return self.substr(0, self.rfind('/') + 1) + name;
}

Result<Helper> startHelper(Stage stage, const std::string& path, std::string name, const UniqueFd& socket) {
  SpawnArguments arguments;
  ::posix_spawn_file_actions_addopen(&arguments.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&arguments.actions, socket.get(), kHelperSocket);
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&arguments.attributes, &all);
  ::posix_spawnattr_setsigmask(&arguments.attributes, &none);
  ::posix_spawnattr_setflags(&arguments.attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  std::array<char*, 2> argv{name.data(), nullptr};
  std::array<char*, 1> env{nullptr};
  pid_t pid = -1;
  const int code =
      ::posix_spawn(&pid, path.c_str(), &arguments.actions, &arguments.attributes, argv.data(), env.data());
  if (code != 0) return failErrno(stage, "start " + path, code);
  auto process = openPidFd(stage, pid);
  if (!process) {
    // Without the descriptor it would never be ended or reaped.
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return tl::unexpected<Error>(process.error());
  }
  return Helper{pid, std::move(*process)};
}

}  // namespace fallbackd::sys
