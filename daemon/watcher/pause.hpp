// SPDX-License-Identifier: Apache-2.0
// A pause that can be cut short.
#pragma once

#include "cri/runtime.hpp"

#include <chrono>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::watcher {

/// Sleeps; returns early, without an exception, when the timer is cancelled as a wake-up call. The timer is
/// the coroutine's own, or outlives it.
inline cri::Awaitable<void> pauseFor(boost::asio::steady_timer& timer, std::chrono::nanoseconds interval) {
  timer.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(interval));
  boost::system::error_code ignored;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

}  // namespace fallbackd::watcher
