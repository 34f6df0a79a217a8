// Where tasks go that may never end. An interface, so that tests run on one that works in place.
#pragma once

#include "workers/task.hpp"

#include <boost/asio/awaitable.hpp>

namespace fallbackd::workers {

class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  virtual ~Runner() = default;

  /// Ends within the task's limit, whatever becomes of the task. The error is the task's own, or has the
  /// task's stage: timeout where it is not over in time; unavailable where too many tasks of the same owner
  /// hang already, so that it was not begun.
  virtual boost::asio::awaitable<Result<Outcome>> run(Task task) = 0;
};

}  // namespace fallbackd::workers
