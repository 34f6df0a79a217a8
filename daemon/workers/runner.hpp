// SPDX-License-Identifier: Apache-2.0
// Runs tasks that may never end. An interface, so that tests can run them in place.
#pragma once

#include "workers/task.hpp"

#include <memory>
#include <utility>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::workers {

/// A task in progress. If this is destroyed early the task may still be done, but its outcome is lost.
class Begun {
 public:
  Begun() = default;
  Begun(const Begun&) = delete;
  Begun& operator=(const Begun&) = delete;
  virtual ~Begun() = default;
  /// Waits for the outcome; call once.
  virtual boost::asio::awaitable<Result<Outcome>> outcome() = 0;
};

class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  virtual ~Runner() = default;

  /// Returns within the task's limit, whatever happens to the task. The error is the task's own, or has the
  /// task's stage: timeout if it was not finished in time; unavailable if too many tasks of the same owner
  /// hang already, so that it was not started.
  virtual std::unique_ptr<Begun> begin(Task task) = 0;

  boost::asio::awaitable<Result<Outcome>> run(Task task) {
    const auto begun = begin(std::move(task));
    co_return co_await begun->outcome();
  }
};

}  // namespace fallbackd::workers
