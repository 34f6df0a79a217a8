// Starting a program of ours that serves the daemon over a socket: the spawner, the workers.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>
#include <sys/types.h>

namespace fallbackd::sys {

/// The descriptor that a helper finds its socket at.
inline constexpr int kHelperSocket = 3;

/// The path of a program in the folder of our own.
std::string programBesideOurs(const std::string& name);

/// Starts the program at `path` as `name`, with the socket at kHelperSocket, /dev/null as standard input and
/// otherwise what is not CLOEXEC. It has a session of its own, so that a terminal's Ctrl-C ends the daemon
/// only; default signals and no environment. Blocks until it is executed.
Result<pid_t> startHelper(Stage stage, const std::string& path, std::string name, const UniqueFd& socket);

}  // namespace fallbackd::sys
