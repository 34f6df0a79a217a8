// SPDX-License-Identifier: Apache-2.0
// The spawner's lifetime: starts the program, ends it, and replaces it when it is gone. One at a time, our
// child, with our end of its socket. One io_context thread.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

class SpawnerProcess {
 public:
  SpawnerProcess(boost::asio::any_io_executor executor, std::string program);
  SpawnerProcess(const SpawnerProcess&) = delete;
  SpawnerProcess& operator=(const SpawnerProcess&) = delete;
  ~SpawnerProcess() { end(); }

  /// Blocks until the program was executed.
  Result<> start();
  /// Blocks until the started spawner is set up, for a few seconds at most.
  [[nodiscard]] Result<> awaitReady() const;
  /// Closes the socket and waits for the spawner to end (within a millisecond). The processes that it started
  /// run on. No effect if there is none.
  void end();
  /// The spawner ends by itself; end() reaps it.
  void closeSocket();

  /// After end(): starts another one after a pause, which is longer the sooner the last ones died and the
  /// more starts have failed. There may still be none then: what cannot be started now (no descriptors, no
  /// memory, an upgrade replaces the program) may be startable at the next call.
  boost::asio::awaitable<void> restart();
  /// Returns at once if there is one; usually a new one takes only a moment. After kRespawnLimit it returns
  /// without one.
  boost::asio::awaitable<void> awaitStarted();

  /// Our end; empty while no spawner runs.
  [[nodiscard]] const sys::UniqueFd& socket() const { return socket_; }
  [[nodiscard]] unsigned restarts() const { return restarts_; }
  /// -1 if there is none.
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  boost::asio::any_io_executor executor_;
  std::string program_;
  Event started_;  // a new spawner was started
  sys::UniqueFd socket_;
  sys::PidFd process_;
  pid_t pid_ = -1;
  std::optional<Stamp> startedAt_;  // empty: the last start failed
  Backoff pause_;
  unsigned restarts_ = 0;
};

/// How long a launch waits for a new spawner.
inline constexpr auto kRespawnLimit = std::chrono::seconds(2);

/// The spawner's program, in the folder of our own.
std::string defaultSpawnerProgram();

}  // namespace fallbackd::launcher
