// Where tasks go that may never end. An interface, so that tests run on one that works in place.
#pragma once

#include "workers/task.hpp"

#include <memory>
#include <utility>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::workers {

/// A task on its way. Destroyed before its end, it may still be done, but nobody is told.
class Begun {
 public:
  Begun() = default;
  Begun(const Begun&) = delete;
  Begun& operator=(const Begun&) = delete;
  virtual ~Begun() = default;
  /// Waits for it; once.
  virtual boost::asio::awaitable<Result<Outcome>> outcome() = 0;
};

class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  virtual ~Runner() = default;

  /// Ends within the task's limit, whatever becomes of the task. The error is the task's own, or has the
  /// task's stage: timeout where it is not over in time; unavailable where too many tasks of the same owner
  /// hang already, so that it was not begun.
  virtual std::unique_ptr<Begun> begin(Task task) = 0;

  boost::asio::awaitable<Result<Outcome>> run(Task task) {
    const auto begun = begin(std::move(task));
    co_return co_await begun->outcome();
  }
};

}  // namespace fallbackd::workers
