// SPDX-License-Identifier: Apache-2.0
// Checks that an event loop is responsive: asks it from a separate thread, and reports where it hangs if it
// does not respond in time.
#pragma once

#include "base/clock.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>
#include <thread>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::telemetry {

class LoopWatch {
 public:
  struct Stall {
    bool over = false;
    Monotonic::duration length;  // so far, or in total
    std::string stack;           // at its beginning
  };
  /// Called on the watch's thread, when a stall is noticed and when it is over.
  using Tell = std::function<void(const Stall&)>;

  /// `thread` is the one that runs the loop, or is about to.
  LoopWatch(boost::asio::any_io_executor loop, pid_t thread, std::chrono::milliseconds limit, Tell tell);
  /// Ends the thread; the loop need not respond for that.
  ~LoopWatch();
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  /// How long the loop has not responded, if that is longer than the limit. Any thread.
  [[nodiscard]] std::optional<Monotonic::duration> stalled() const;

 private:
  /// What the loop responds through; it may outlive the watch.
  struct Answers {
    std::mutex mutex;
    std::condition_variable changed;
    std::uint64_t answered = 0;
    bool ends = false;
  };
  void watch();

  boost::asio::any_io_executor loop_;
  pid_t looping_;
  std::chrono::milliseconds limit_;
  Tell tell_;
  std::shared_ptr<Answers> answers_;
  std::atomic<Monotonic::rep> stalledSince_{0};  // 0: it responds
  std::thread thread_;
};

}  // namespace fallbackd::telemetry
