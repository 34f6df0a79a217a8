// SPDX-License-Identifier: Apache-2.0
// One wait that ends at a deadline or when it is woken. Event and the pauses are built on it; other code uses
// those.
//
// Thread: the executor's. Cancellation: a cancelled wait throws operation_aborted, as Asio's own waits do.
// Ownership: the waiter owns the timer and keeps it until the wait has ended; at most one wait at a time.
#pragma once

#include "base/async/loop_clock.hpp"

#include <cstdint>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace fallbackd {

class Timer {
 public:
  enum class End : std::uint8_t { deadline, woken };

  explicit Timer(const boost::asio::any_io_executor& executor)
      : clock_(LoopClock::of(executor)), timer_(executor) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { clock_.disarm(timer_); }

  [[nodiscard]] const Clock& clock() const { return clock_; }

  /// Stamp::max(): only wake() ends it.
  boost::asio::awaitable<End> wait(Stamp deadline) {
    woken_ = false;
    clock_.arm(timer_, deadline);
    boost::system::error_code error;
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
    clock_.disarm(timer_);
    if (woken_) co_return End::woken;
    // A test's clock cancels the timer at the deadline.
    if (error && clock_.now() < deadline) throw boost::system::system_error(error);
    co_return End::deadline;
  }

  /// No effect if nothing waits.
  void wake() {
    woken_ = true;
    timer_.cancel();
  }

 private:
  LoopClock& clock_;
  boost::asio::steady_timer timer_;
  bool woken_ = false;
};

}  // namespace fallbackd
