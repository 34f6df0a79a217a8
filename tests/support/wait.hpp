// SPDX-License-Identifier: Apache-2.0
// Waiting and measuring in tests.
#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <thread>

namespace fallbackd::e2e {

/// How long a test waits for what must happen: longer than any successful step takes on a machine that others
/// share.
inline constexpr std::chrono::seconds kCeiling{60};

/// Checks every millisecond until `predicate` holds; false if it does not within `deadline`. For conditions
/// of other processes that nothing announces; if there is an event, wait for the event.
template <class Predicate>
bool waitUntil(std::chrono::nanoseconds deadline, Predicate predicate) {
  const Stamp end = Monotonic::now() + deadline;
  while (!predicate()) {
    if (Monotonic::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class Stopwatch {
 public:
  [[nodiscard]] Monotonic::duration elapsed() const { return Monotonic::now() - start_; }
  [[nodiscard]] double millis() const { return toMillis(elapsed()); }

 private:
  Stamp start_ = Monotonic::now();
};

}  // namespace fallbackd::e2e
