// From a fallback's FIFOs to the file beside the pod's logs. One io_context thread, which touches the FIFOs
// only: the file may hang.
#pragma once

#include "base/error.hpp"
#include "base/task_group.hpp"
#include "config/model.hpp"
#include "sys/fd.hpp"
#include "workers/runner.hpp"

#include <chrono>
#include <memory>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd::launcher {

/// The file that output goes to. An empty path: it is thrown away.
struct LogTarget {
  std::string path;
  config::LogLimits limits;
  workers::Owner owner;
};

/// The owner of a pod's log folder, by its name: NAMESPACE_POD_UID.
workers::Owner ownerOfLog(const std::string& path);

/// Has the file and its folder made. Stage logs; timeout or unavailable where they hang.
std::unique_ptr<workers::Begun> beginLog(workers::Runner& runner, const LogTarget& target);

/// Copies both streams into the file until the last writer is gone; destroying it stops the copying. What the
/// process writes is taken out of its FIFO only once it is in the file, so that a daemon killed at any moment
/// loses nothing (it may write some of it twice). A process that writes faster than the limits allow, or
/// while no daemon reads, fills its FIFO (1 MiB) and then waits in its write, as under every container
/// runtime. A file that cannot be written (full disk) or that hangs costs the lines, never the process; one
/// that hangs is tried again from time to time.
class LogPump {
 public:
  static Result<std::unique_ptr<LogPump>> start(boost::asio::any_io_executor executor,
                                                std::shared_ptr<workers::Runner> runner, sys::UniqueFd out,
                                                sys::UniqueFd err, LogTarget target);

  /// Waits until all that the process wrote is in the file, at most `limit`. From here on as fast as it can.
  boost::asio::awaitable<void> drained(std::chrono::nanoseconds limit);

 private:
  struct Sink;
  LogPump(const boost::asio::any_io_executor& executor, std::shared_ptr<Sink> sink);

  static boost::asio::awaitable<void> copyStream(boost::asio::posix::stream_descriptor fifo,
                                                 std::string stream, std::shared_ptr<Sink> sink);

  boost::asio::any_io_executor executor_;
  std::shared_ptr<Sink> sink_;  // shared with the coroutines
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
