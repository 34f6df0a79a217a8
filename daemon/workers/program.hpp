// SPDX-License-Identifier: Apache-2.0
// Running a program that is not ours, by a worker: one input, one output, a deadline. Used by both sides.
#pragma once

#include "base/error.hpp"
#include "workers/task.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::workers {

struct Program {
  std::string folder;  // it and the program must be writable by root only: it runs as the daemon's user
  std::string name;    // in that folder
  std::vector<std::string> args;  // without the program's name
  std::vector<std::string> env;   // the whole environment, NAME=VALUE
  std::string input;
  std::chrono::milliseconds limit{};
  std::uint32_t maxOutput = 0;  // bytes
  /// The file that the arguments and the environment come from, if any: must be writable by root only, too.
  std::string config = {};
};

/// Puts the program into the task, whose own limit must be longer than the program's.
void ask(Task& task, const Program& program);

/// The worker's side: runs it and returns its output. The program gets the input as a file, three descriptors
/// and its own session; it is the first to be killed when memory runs out, and dies with the worker.
/// What is left of its session's process group is killed at its end.
///
/// Stage detection. Reasons: unsafe_owner, not_found; timeout; too_large; exited (with what it wrote to
/// stderr) and signaled. Blocks for `limit` and a second more at most.
Result<std::string> runProgram(std::string_view bytes);

}  // namespace fallbackd::workers
