// One worker process, as the daemon holds it.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <memory>
#include <string>
#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd::workers {

class Worker {
 public:
  /// Starts one. Blocks until the program is loaded, less than a millisecond.
  static Result<std::shared_ptr<Worker>> start(const boost::asio::any_io_executor& executor,
                                               const std::string& program);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { end(); }

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const sys::UniqueFd& socket() const { return socket_; }
  /// Until an answer, or the worker's end, can be read.
  boost::asio::awaitable<void> answered();

  /// It ends when it has nothing to do.
  void dismiss();
  /// SIGKILL. In an uninterruptible sleep it takes effect when that is over.
  void kill();
  /// It did not answer in time: from here on nobody waits for it but ended().
  void giveUp();
  /// Kills it and waits for its end for a moment; one that was given up is left to the kernel.
  void end();
  /// Waits for the end and buries it.
  boost::asio::awaitable<void> ended();

 private:
  Worker(const boost::asio::any_io_executor& executor, pid_t pid, sys::PidFd process, sys::UniqueFd socket);
  void bury();

  pid_t pid_;
  sys::PidFd process_;
  sys::UniqueFd socket_;
  bool givenUp_ = false;
  bool buried_ = false;
  // Numbers of their own for Asio, which closes what it watches.
  boost::asio::posix::stream_descriptor answers_;
  boost::asio::posix::stream_descriptor end_;
};

/// "fallbackd-worker" beside our own program.
std::string defaultWorkerProgram();

}  // namespace fallbackd::workers
