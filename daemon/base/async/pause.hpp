// SPDX-License-Identifier: Apache-2.0
// Pauses of the calling coroutine, by its loop's clock.
//
// Thread: any; each call concerns the calling coroutine alone. Cancellation: a cancelled pause throws
// operation_aborted. Ownership: nothing is shared.
#pragma once

#include "base/clock.hpp"

#include <chrono>

#include <boost/asio/awaitable.hpp>

namespace fallbackd {

boost::asio::awaitable<void> pauseUntil(Stamp deadline);
boost::asio::awaitable<void> pauseFor(std::chrono::nanoseconds length);

/// For one side of an `a || b` that has nothing to wait for.
boost::asio::awaitable<void> untilCancelled();

}  // namespace fallbackd
