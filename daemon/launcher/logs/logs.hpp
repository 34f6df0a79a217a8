// SPDX-License-Identifier: Apache-2.0
// Copies from a fallback's FIFOs to the file beside the pod's logs. One io_context thread, which only waits
// for the FIFOs; workers read them and write the file, because both may hang.
#pragma once

#include "base/async/watched.hpp"
#include "base/error.hpp"
#include "base/task_group.hpp"
#include "config/model.hpp"
#include "sys/fd.hpp"
#include "workers/runner.hpp"

#include <chrono>
#include <memory>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// The file that receives the output. With an empty path the output is discarded.
struct LogTarget {
  std::string path;
  config::LogLimits limits;
  workers::Owner owner;
};

/// The owner of a pod's log folder, from its name: NAMESPACE_POD_UID.
workers::Owner ownerOfLog(const std::string& path);

/// Creates the file and its folder. Stage logs; timeout or unavailable if they hang.
std::unique_ptr<workers::Begun> beginLog(workers::Runner& runner, const LogTarget& target);

/// Copies both streams into the file until the last writer is gone; destroying it stops the copying. Output
/// is removed from the FIFO only after it is in the file, so a daemon that is killed at any moment loses
/// nothing (it may write some of it twice). A process that writes faster than the limits allow, or while no
/// daemon reads, fills its FIFO (1 MiB) and then blocks in its write, as under every container runtime. A
/// file that cannot be written (full disk) or that hangs costs the lines, never the process; a file that
/// hangs is tried again from time to time.
class LogPump {
 public:
  static Result<std::unique_ptr<LogPump>> start(boost::asio::any_io_executor executor,
                                                std::shared_ptr<workers::Runner> runner, sys::UniqueFd out,
                                                sys::UniqueFd err, LogTarget target);

  /// Waits until all output of the process is in the file, at most `limit`. From here on without rate limit.
  boost::asio::awaitable<void> drained(std::chrono::nanoseconds limit);

 private:
  struct Sink;
  LogPump(const boost::asio::any_io_executor& executor, std::shared_ptr<Sink> sink);

  static boost::asio::awaitable<void> copyStream(Watched fifo, std::string stream,
                                                 std::shared_ptr<Sink> sink);

  boost::asio::any_io_executor executor_;
  std::shared_ptr<Sink> sink_;  // shared with the coroutines
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
