// A bounded number of workers, and the rule of what happens when they hang. Whoever controls a file may have
// it never answer: a worker that misses its deadline is killed, given up and counted, and from a number of
// such workers on its owner is refused at once. Others do not notice. One io_context thread.
//
// Processes and not threads: a thread in an uninterruptible sleep cannot be ended, and with it the daemon
// could not end either, nor be started again while the old one holds its sockets.
#pragma once

#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "workers/runner.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::workers {

struct PoolLimits {
  std::size_t idle = 4;                // kept at hand; two of them are started at once
  std::size_t running = 16;            // tasks at a time
  std::size_t runningBackground = 12;  // of them not for launches
  std::size_t runningOfNamespace = 4;
  std::size_t stuckOfPod = 2;  // hanging workers, given up
  std::size_t stuckOfNamespace = 8;
  std::size_t stuck = 64;
};

struct PoolCounts {
  std::array<std::uint64_t, kWorks> missed{};   // deadlines, by Work
  std::array<std::uint64_t, kWorks> refused{};  // because of workers that hang already
  std::size_t stuck = 0;                        // workers that were killed and have not ended
  std::size_t workers = 0;                      // others
};

/// A task that was not over in time; for the log.
struct Missed {
  Work work;
  Owner owner;
  std::string what;
  std::size_t stuckOfPod;  // with this one
};

class Pool final : public Runner {
 public:
  /// `program`: empty for the one beside our own.
  Pool(boost::asio::any_io_executor executor, std::string program, PoolLimits limits = {});
  /// Kills all workers and waits for those that do not hang.
  ~Pool() override;

  /// Starts the first workers, so that the first launch need not.
  Result<> start();

  std::unique_ptr<Begun> begin(Task task) override;

  void onMissed(std::function<void(const Missed&)> tell);
  [[nodiscard]] PoolCounts counts() const;

 private:
  struct Job;
  struct Ticket;
  struct State;
  std::shared_ptr<State> state_;  // shared with the coroutines
};

}  // namespace fallbackd::workers
