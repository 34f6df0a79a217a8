// SPDX-License-Identifier: Apache-2.0
// Pauses between attempts at something that may work later. Used on one io_context thread.
#pragma once

#include <algorithm>
#include <chrono>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd {

/// Doubles the pause from `first` up to `last`. A cancelled wait throws, like every Asio wait.
class Backoff {
 public:
  struct Limits {
    std::chrono::nanoseconds first = std::chrono::milliseconds(10);
    std::chrono::nanoseconds last = std::chrono::seconds(1);
  };
  explicit Backoff(const boost::asio::any_io_executor& executor) : Backoff(executor, Limits()) {}
  Backoff(const boost::asio::any_io_executor& executor, Limits limits)
      : timer_(executor), next_(limits.first), last_(limits.last) {}

  boost::asio::awaitable<void> wait() {
    timer_.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(next_));
    next_ = std::min(next_ * 2, last_);
    co_await timer_.async_wait(boost::asio::use_awaitable);
  }

 private:
  boost::asio::steady_timer timer_;
  std::chrono::nanoseconds next_;
  std::chrono::nanoseconds last_;
};

}  // namespace fallbackd
