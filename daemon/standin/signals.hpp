// SPDX-License-Identifier: Apache-2.0
// The daemon's side of a stand-in's process: see program/protocol.hpp. On the daemon's loop.
#pragma once

#include "base/async/watched.hpp"
#include "base/error.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <memory>
#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::standin {

class Signals {
 public:
  /// For no process.
  Signals() = default;
  /// Waits until the process executes our program and has its pipe; for a second at most (reason timeout).
  static boost::asio::awaitable<Result<Signals>> of(pid_t pid);

  /// The number of the next signal; 0 once the process has ended.
  boost::asio::awaitable<int> next();
  /// Waits until the process has ended; false if it has not in time. Drops signals.
  boost::asio::awaitable<bool> ended(std::chrono::nanoseconds limit);
  /// Tells the process to end with this code. A process that has ended is not an error.
  Result<> end(int code);

 private:
  Signals(sys::PidFd process, Watched pipe, sys::Pipe own);

  sys::PidFd process_;
  std::unique_ptr<Watched> pipe_;  // the program's
  sys::Pipe own_;                  // through which its bytes are read
};

}  // namespace fallbackd::standin
