// SPDX-License-Identifier: Apache-2.0
// Pauses of the coroutine that calls, by the clock of its loop.
//
// Thread: any; each call concerns the calling coroutine alone. Cancellation: a cancelled pause throws
// operation_aborted. Ownership: nothing is shared.
#pragma once

#include "base/async/timer.hpp"

#include <chrono>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

namespace fallbackd {

inline boost::asio::awaitable<void> pauseUntil(Stamp deadline) {
  Timer timer(co_await boost::asio::this_coro::executor);
  co_await timer.wait(deadline);
}

inline boost::asio::awaitable<void> pauseFor(std::chrono::nanoseconds length) {
  Timer timer(co_await boost::asio::this_coro::executor);
  co_await timer.wait(later(timer.clock().now(), length));
}

/// For one side of an `a || b` that has nothing to wait for.
inline boost::asio::awaitable<void> untilCancelled() {
  return pauseUntil(Stamp::max());
}

}  // namespace fallbackd
