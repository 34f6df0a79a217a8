// SPDX-License-Identifier: Apache-2.0
// Runs a test's loop until something has happened.
#pragma once

#include "fake_clock.hpp"

#include <chrono>
#include <functional>

#include <boost/asio/io_context.hpp>

namespace fallbackd::test {

/// Longer than any working step takes; never part of a measurement.
constexpr std::chrono::seconds kCeiling{20};

/// Runs the loop until `done` or the ceiling; returns whether it was done. A FakeClock advances when the loop
/// has nothing else to do, up to the ceiling.
inline bool runUntil(boost::asio::io_context& loop, const std::function<bool()>& done) {
  constexpr std::chrono::milliseconds kLook{10};
  auto* const clock = FakeClock::of(loop);
  const auto& system = Clock::system();
  const auto ceiling = system.now() + kCeiling;
  const auto fakeCeiling = clock == nullptr ? Stamp() : clock->now() + kCeiling;
  while (!done() && system.now() < ceiling) {
    loop.restart();
    if (loop.poll_one() > 0 || (clock != nullptr && clock->advanceToNext(fakeCeiling))) continue;
    loop.restart();
    loop.run_one_for(kLook);  // another thread or the kernel must act
  }
  return done();
}

/// The same, but a FakeClock does not advance: for tests with a peer in another thread or process, which
/// needs real time.
inline bool runWhileTimeStands(boost::asio::io_context& loop, const std::function<bool()>& done) {
  constexpr std::chrono::milliseconds kLook{10};
  const auto& system = Clock::system();
  const auto ceiling = system.now() + kCeiling;
  while (!done() && system.now() < ceiling) {
    loop.restart();
    if (loop.poll_one() == 0) loop.run_one_for(kLook);
  }
  return done();
}

}  // namespace fallbackd::test
