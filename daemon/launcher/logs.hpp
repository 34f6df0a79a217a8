// From a fallback's standard output to its log file: FIFOs, the file beside the pod's logs, and the pump
// between them. One io_context thread.
#pragma once

#include "base/error.hpp"
#include "base/task_group.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// The folder of a recovery's FIFOs, root's own (0700).
std::string fifoDirOf(const std::string& runDir, const std::string& recoveryId);

/// Makes the folder and both FIFOs anew. Stage logs.
Result<> makeFifos(const std::string& fifoDir);

enum class FifoEnd {
  daemon,   // reads, without waiting
  process,  // opened for reading and writing: no reader that comes or goes can ever break or block it
};
/// `name`: "stdout" or "stderr". Reason unsafe_file_type where it is no FIFO any more.
Result<sys::UniqueFd> openFifo(const std::string& fifoDir, const std::string& name, FifoEnd end);

/// <logDirectory>/<container>-fallback/<restartCount>.log: beside the pod's logs, where log shippers look.
std::string logFileOf(const std::string& logDirectory, const std::string& container, unsigned restartCount);

/// Opens it for appending and creates it and its folder where missing. Follows no symlink below the pod's log
/// folder, which the pod may have a hand in by a hostPath volume. Stage logs.
Result<sys::UniqueFd> openLogFile(const std::string& path);

/// Copies both streams into the file until the last writer is gone. A file that cannot be written (full disk)
/// costs the lines, never the process. Destroying it stops the copying; what was read is written first.
class LogPump {
 public:
  /// An invalid `file` lets the output vanish, but still read: a full FIFO would stop the process.
  LogPump(boost::asio::any_io_executor executor, sys::UniqueFd out, sys::UniqueFd err, sys::UniqueFd file);

  /// Waits until all that the process wrote is in the file, at most `limit`.
  boost::asio::awaitable<void> drained(std::chrono::nanoseconds limit);

 private:
  boost::asio::any_io_executor executor_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
