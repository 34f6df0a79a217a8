// SPDX-License-Identifier: Apache-2.0
#include "base/async/pause.hpp"

#include "base/async/timer.hpp"

#include <boost/asio/this_coro.hpp>

namespace fallbackd {

namespace asio = boost::asio;

asio::awaitable<void> pauseUntil(Stamp deadline) {
  Timer timer(co_await asio::this_coro::executor);
  co_await timer.wait(deadline);
}

asio::awaitable<void> pauseFor(std::chrono::nanoseconds length) {
  Timer timer(co_await asio::this_coro::executor);
  co_await timer.wait(later(timer.clock().now(), length));
}

asio::awaitable<void> untilCancelled() {
  return pauseUntil(Stamp::max());
}

}  // namespace fallbackd
