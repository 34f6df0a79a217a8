// From a fallback's FIFOs to the file beside the pod's logs. One io_context thread.
#pragma once

#include "base/error.hpp"
#include "base/task_group.hpp"
#include "launcher/log_file.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <memory>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// Copies both streams into the file until the last writer is gone; destroying it stops the copying. What the
/// process writes is taken out of its FIFO only once it is in the file, so that a daemon killed at any moment
/// loses nothing (it may write some of it twice). While no daemon reads, a FIFO holds 1 MiB; then the
/// process waits in its write, as under every container runtime, until a daemon is back. A file that cannot
/// be written (full disk) costs the lines, never the process.
class LogPump {
 public:
  static Result<std::unique_ptr<LogPump>> start(boost::asio::any_io_executor executor, sys::UniqueFd out,
                                                sys::UniqueFd err, LogFile file);

  /// Waits until all that the process wrote is in the file, at most `limit`.
  boost::asio::awaitable<void> drained(std::chrono::nanoseconds limit);

 private:
  explicit LogPump(boost::asio::any_io_executor executor) : executor_(executor), tasks_(executor) {}

  boost::asio::any_io_executor executor_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
