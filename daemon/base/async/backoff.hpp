// SPDX-License-Identifier: Apache-2.0
// Pauses between attempts at something that may work later: each is twice as long as the one before, up to a
// limit.
//
// Thread: the calling coroutine's; not shared. Cancellation: a cancelled wait() throws operation_aborted and
// counts as a pause. Ownership: the code that makes the attempts owns it; wait() must not outlive it.
#pragma once

#include "base/async/pause.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <boost/asio/awaitable.hpp>

namespace fallbackd {

class Backoff {
 public:
  struct Limits {
    std::chrono::nanoseconds first = std::chrono::milliseconds(10);
    std::chrono::nanoseconds last = std::chrono::seconds(1);
  };
  Backoff() : Backoff(Limits()) {}
  explicit Backoff(Limits limits) : limits_(limits), next_(limits.first) {}

  /// The pause that is due, for callers that wait in another way; the next is longer.
  std::chrono::nanoseconds next() { return std::exchange(next_, std::min(next_ * 2, limits_.last)); }

  boost::asio::awaitable<void> wait() { return pauseFor(next()); }

  /// After a success: the next pause is the first again.
  void reset() { next_ = limits_.first; }

 private:
  Limits limits_;
  std::chrono::nanoseconds next_;
};

}  // namespace fallbackd
