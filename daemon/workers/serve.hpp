// SPDX-License-Identifier: Apache-2.0
// The worker's side: answers requests one after the other until the daemon is gone.
#pragma once

#include "workers/task.hpp"

#include <functional>

namespace fallbackd::workers {

/// Handles one request. `fds` came with it; the outcome's descriptors are sent back.
using Perform = std::function<Result<Outcome>(const Question& question, std::vector<sys::UniqueFd> fds)>;

/// Returns the exit code: 0 if the daemon closed the socket, 2 if there is no socket.
int serve(const Perform& perform);

}  // namespace fallbackd::workers
