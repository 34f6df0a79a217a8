// SPDX-License-Identifier: Apache-2.0
// How often something may be done: a token bucket that needs one number. One thread.
#pragma once

#include "base/clock.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::kube {

class Pace {
 public:
  /// `burst` times at once, and then once in each interval.
  Pace(std::chrono::nanoseconds interval, unsigned burst)
      : interval_(interval), allowance_(interval * (static_cast<std::int64_t>(burst) - 1)) {}

  /// When it may be done next: a moment in the past if it may be done now.
  [[nodiscard]] Stamp next() const { return full_ - allowance_; }
  void take(Stamp now) { full_ = std::max(full_, now) + interval_; }
  /// Whether it is as if nothing had ever been done.
  [[nodiscard]] bool isFull(Stamp now) const { return full_ <= now; }

 private:
  std::chrono::nanoseconds interval_;
  std::chrono::nanoseconds allowance_;
  Stamp full_{};  // when the bucket is full again
};

}  // namespace fallbackd::kube
