// SPDX-License-Identifier: Apache-2.0
// A time limit for an awaitable.
//
//   const std::optional<Answer> answer = co_await within(2s, ask());   // empty: the limit passed
//   const bool inTime = co_await within(deadline, drained());          // of an awaitable<void>
//
// Thread: the calling coroutine's executor. Cancellation: at the limit the awaitable is cancelled, and
// within() returns once it has ended; what it then returns or throws is dropped. Cancelling the caller
// cancels the awaitable and throws operation_aborted. Exceptions of the awaitable that come in time pass
// through. Ownership: the awaitable's frame is destroyed before within() returns.
#pragma once

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace fallbackd {

namespace detail {

template <class T>
boost::asio::awaitable<std::optional<T>> held(boost::asio::awaitable<T> work) {
  co_return co_await std::move(work);
}

inline boost::asio::awaitable<std::optional<bool>> doneOf(boost::asio::awaitable<void> work) {
  co_await std::move(work);
  co_return true;
}

template <class T>
boost::asio::awaitable<std::optional<T>> race(boost::asio::awaitable<void> limit,
                                              boost::asio::awaitable<std::optional<T>> work) {
  namespace experimental = boost::asio::experimental;
  const auto executor = co_await boost::asio::this_coro::executor;
  auto group = experimental::make_parallel_group(
      boost::asio::co_spawn(executor, std::move(work), boost::asio::deferred),
      boost::asio::co_spawn(executor, std::move(limit), boost::asio::deferred));
  auto [order, failure, value, aborted] =
      co_await group.async_wait(experimental::wait_for_one(), boost::asio::use_awaitable);
  const auto state = co_await boost::asio::this_coro::cancellation_state;
  if (state.cancelled() != boost::asio::cancellation_type::none) {
    throw boost::system::system_error(boost::asio::error::operation_aborted);
  }
  const bool inTime = order[0] == 0;
  if (inTime && failure) std::rethrow_exception(failure);
  if (!inTime && aborted) std::rethrow_exception(aborted);
  if (!inTime) co_return std::nullopt;
  co_return std::move(value);
}

inline boost::asio::awaitable<bool> raceOf(boost::asio::awaitable<void> limit,
                                           boost::asio::awaitable<void> work) {
  auto done = co_await race<bool>(std::move(limit), doneOf(std::move(work)));
  co_return done.has_value();
}

}  // namespace detail

template <class T>
boost::asio::awaitable<std::optional<T>> within(Stamp deadline, boost::asio::awaitable<T> work) {
  return detail::race<T>(pauseUntil(deadline), detail::held(std::move(work)));
}

template <class T>
boost::asio::awaitable<std::optional<T>> within(std::chrono::nanoseconds limit,
                                                boost::asio::awaitable<T> work) {
  return detail::race<T>(pauseFor(limit), detail::held(std::move(work)));
}

/// False if the limit passed first.
inline boost::asio::awaitable<bool> within(Stamp deadline, boost::asio::awaitable<void> work) {
  return detail::raceOf(pauseUntil(deadline), std::move(work));
}

inline boost::asio::awaitable<bool> within(std::chrono::nanoseconds limit,
                                           boost::asio::awaitable<void> work) {
  return detail::raceOf(pauseFor(limit), std::move(work));
}

}  // namespace fallbackd
