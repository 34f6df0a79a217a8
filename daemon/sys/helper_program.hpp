// SPDX-License-Identifier: Apache-2.0
// Starts one of our own programs that serves the daemon over a socket: the spawner or a worker.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>
#include <sys/types.h>

namespace fallbackd::sys {

/// The descriptor at which a helper finds its socket.
inline constexpr int kHelperSocket = 3;

/// The path of a program in the same folder as this one.
std::string programBesideOurs(const std::string& name);

struct Helper {
  pid_t pid = -1;  // our child
  PidFd process;
};

/// Starts the program at `path` as `name`, with the socket at kHelperSocket, /dev/null as standard input and
/// every descriptor that is not CLOEXEC. It gets its own session, so that Ctrl-C in a terminal ends only
/// the daemon, default signals and no environment. Blocks until it has been executed. On failure there is no
/// child.
Result<Helper> startHelper(Stage stage, const std::string& path, std::string name, const UniqueFd& socket);

}  // namespace fallbackd::sys
