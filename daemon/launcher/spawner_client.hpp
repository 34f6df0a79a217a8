// SPDX-License-Identifier: Apache-2.0
// Launches through the spawner: sends it orders and passes its reports to their waiters. One io_context
// thread.
#pragma once

#include "base/async/event.hpp"
#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "launcher/launcher.hpp"
#include "spawner/protocol.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// How a process ended, as reported by the spawner, its parent.
struct ExitNotice {
  explicit ExitNotice(const boost::asio::any_io_executor& executor) : known(executor) {}
  std::optional<ExitStatus> status;  // empty: the spawner is gone, and no report will come
  Event known;
};

/// A process that executes the binary. For an order without argv: its health check passed, and nothing runs.
struct StartedProcess {
  pid_t pid = 0;  // 0: nothing runs
  sys::PidFd process;
  Stamp prepared;
  Stamp healthChecked;
  Stamp started;
  std::shared_ptr<ExitNotice> exit;
};

/// A launch that waits for its entry; destroying it before its end aborts it.
class BegunLaunch;

class SpawnerClient {
 public:
  SpawnerClient(boost::asio::any_io_executor executor, std::string program);
  /// Closes the socket and waits for the spawner to end (within a millisecond). The processes that it started
  /// run on.
  ~SpawnerClient();

  /// Starts the spawner and waits until it is set up. Blocks for a few seconds at most.
  Result<> start();

  /// Starts a process that builds its root and waits for its entry. Returns once the order was sent; finish()
  /// reports the outcome.
  boost::asio::awaitable<Result<BegunLaunch>> begin(LaunchOrder order, LaunchFds fds);

  /// Sends the entry. Returns once the binary was executed or the launch failed; reason spawner_gone if the
  /// spawner died meanwhile. When cancelled, what was started is killed.
  boost::asio::awaitable<Result<StartedProcess>> finish(BegunLaunch launch, EntryFds fds);

  /// How often a spawner died and was replaced.
  [[nodiscard]] unsigned restarts() const;
  /// For tests and the status page.
  [[nodiscard]] pid_t pid() const;

 private:
  friend class BegunLaunch;
  struct State;
  struct Pending;
  std::shared_ptr<State> state_;  // shared with the coroutines
  TaskGroup tasks_;
};

class BegunLaunch {
 public:
  BegunLaunch() = default;
  BegunLaunch(BegunLaunch&& other) noexcept = default;
  BegunLaunch& operator=(BegunLaunch&& other) noexcept;
  ~BegunLaunch() { abort(); }

 private:
  friend class SpawnerClient;
  BegunLaunch(std::shared_ptr<SpawnerClient::State> state, std::shared_ptr<SpawnerClient::Pending> pending,
              std::uint64_t id, sys::UniqueFd orders);
  void abort();

  std::shared_ptr<SpawnerClient::State> state_;  // empty: moved from, or never begun
  std::shared_ptr<SpawnerClient::Pending> pending_;
  std::uint64_t id_ = 0;
  sys::UniqueFd orders_;
};

}  // namespace fallbackd::launcher
