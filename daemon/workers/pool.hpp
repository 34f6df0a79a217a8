// SPDX-License-Identifier: Apache-2.0
// A bounded number of workers, and what happens when they hang. A pod that controls a file can keep it from
// ever responding: a worker that misses its deadline is killed, given up and counted, and beyond a number of
// such workers new tasks of the same owner are refused at once. Other owners do not notice. One io_context
// thread.
//
// Processes and not threads: a thread in an uninterruptible sleep cannot be ended. The daemon could then not
// exit either, nor be replaced while it still holds its sockets.
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
  std::size_t idle = 4;                // kept ready; two of them are started at once
  std::size_t running = 16;            // tasks at the same time
  std::size_t runningBackground = 12;  // of these, tasks that are not for launches
  std::size_t runningOfNamespace = 4;
  // Hanging workers that were given up; those that hang on files and those on pipes are counted apart.
  std::size_t stuckOfPod = 2;
  std::size_t stuckOfNamespace = 8;
  std::size_t stuck = 64;
};

struct PoolCounts {
  std::array<std::uint64_t, kWorks> missed{};   // missed deadlines, by Work
  std::array<std::uint64_t, kWorks> refused{};  // because workers hang already
  std::size_t stuck = 0;                        // killed workers that have not ended
  std::size_t workers = 0;                      // all other workers
};

/// A task that was not finished in time; for the log.
struct Missed {
  Work work;
  Owner owner;
  std::string what;
  std::size_t stuckOfPod;  // including this one
};

class Pool final : public Runner {
 public:
  /// `program`: empty for the one in the folder of our own program.
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
