// The daemon's end of the spawner: starts it, gives orders, hands reports to whoever waits for them, and
// starts it again when it is gone. One io_context thread.
#pragma once

#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "launcher/launcher.hpp"
#include "launcher/protocol.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fallbackd::launcher {

/// How a process ended, as the spawner, its parent, tells it.
struct ExitNotice {
  explicit ExitNotice(const boost::asio::any_io_executor& executor)
      : changed(executor, boost::asio::steady_timer::time_point::max()) {}
  std::optional<ExitStatus> status;
  bool lost = false;                  // the spawner is gone: nobody will tell
  boost::asio::steady_timer changed;  // cancelled when one of the two is set
};

/// A process that executes the binary.
struct StartedProcess {
  pid_t pid = 0;
  sys::PidFd process;
  Stamp prepared;
  Stamp healthChecked;
  Stamp started;
  std::shared_ptr<ExitNotice> exit;
};

class SpawnerClient {
 public:
  SpawnerClient(boost::asio::any_io_executor executor, std::string program);
  /// Closes the socket and waits for the spawner's end (it needs no longer than a millisecond). The
  /// processes that it started run on.
  ~SpawnerClient();

  /// Starts the spawner and waits until it is set up. Blocks, at most some seconds.
  Result<> start();

  /// Ends when the binary was executed or the launch failed; reason spawner_gone where the spawner died
  /// meanwhile. Cancelled: the launch is aborted, and what it started killed.
  boost::asio::awaitable<Result<StartedProcess>> launch(LaunchOrder order, LaunchFds fds);

  /// How often a spawner died and another was started.
  [[nodiscard]] unsigned restarts() const;
  /// For tests and the status page.
  [[nodiscard]] pid_t pid() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the coroutines
  TaskGroup tasks_;
};

/// The spawner's program beside our own.
std::string defaultSpawnerProgram();

}  // namespace fallbackd::launcher
