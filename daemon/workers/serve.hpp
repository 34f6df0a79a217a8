// A worker's side: one question after the other, until the daemon is gone.
#pragma once

#include "workers/task.hpp"

#include <functional>

namespace fallbackd::workers {

/// Answers one question. `fds` are those that came with it; the outcome's go back.
using Perform = std::function<Result<Outcome>(const Question& question, std::vector<sys::UniqueFd> fds)>;

/// Returns the exit code: 0 where the daemon closed the socket, 2 where there is no socket.
int serve(const Perform& perform);

}  // namespace fallbackd::workers
