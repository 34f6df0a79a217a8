// SPDX-License-Identifier: Apache-2.0
#include "recovery/pull_back_off.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::recovery {

namespace {

using namespace std::chrono_literals;

constexpr Monotonic::duration kFirstRefusal = 10s;
constexpr Monotonic::duration kLongestRefusal = 300s;
constexpr int kDoublings = 5;  // until it is the longest
// The series begins again with a failure that comes this long after the last one.
constexpr Monotonic::duration kForgotten = 2 * kLongestRefusal;

}  // namespace

PullBackOff::PullBackOff(std::optional<Stamp> first)
    : failures_(first ? 0 : kDoublings + 1), next_(first.value_or(Stamp())), last_(next_), over_(next_) {}

/// The length of the pause after the last failure.
Monotonic::duration PullBackOff::length() const {
  return failures_ > kDoublings ? kLongestRefusal : kFirstRefusal * (1 << (failures_ - 1));
}

void PullBackOff::closed(Stamp last) {
  while (next_ <= last && failures_ <= kDoublings) {
    ++failures_;
    next_ += length();
  }
  if (failures_ == 0) return;
  last_ = std::max(last_, last);
  over_ = last_ + length();
}

void PullBackOff::opened(Stamp now) {
  if (failures_ > 0 && now - last_ > kForgotten) failures_ = 0;
  next_ = std::max(next_, now);
}

}  // namespace fallbackd::recovery
