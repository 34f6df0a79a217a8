// SPDX-License-Identifier: Apache-2.0
// One worker process, from the daemon's side.
#pragma once

#include "base/async/watched.hpp"
#include "base/error.hpp"
#include "sys/fd.hpp"

#include <memory>
#include <string>
#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

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
  /// Waits until a response, or the worker's end, can be read.
  boost::asio::awaitable<void> answered();

  /// Asks it to end when it is idle.
  void dismiss();
  /// Sends SIGKILL. In an uninterruptible sleep it takes effect afterwards.
  void kill();
  /// It did not respond in time: from here on only ended() waits for it.
  void giveUp();
  /// Kills it and waits briefly for its end; one that was given up is left to the kernel.
  void end();
  /// Waits for the end and reaps it.
  boost::asio::awaitable<void> ended();

 private:
  Worker(pid_t pid, sys::PidFd process, sys::UniqueFd socket, Watched answers, Watched end);
  void bury();

  pid_t pid_;
  sys::PidFd process_;
  sys::UniqueFd socket_;
  bool givenUp_ = false;
  bool buried_ = false;
  // Duplicates: Asio closes the descriptors that it watches.
  Watched answers_;
  Watched end_;
};

/// "fallbackd-worker" in the folder of our own program.
std::string defaultWorkerProgram();

}  // namespace fallbackd::workers
