// SPDX-License-Identifier: Apache-2.0
// Spreads the intervals of many nodes, which would otherwise query one registry or one containerd at the same
// moment: 0.8 to 1.2 times the interval.
//
// Thread: one at a time. Ownership: each user has its own; it waits for nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace fallbackd {

class Jitter {
 public:
  Jitter() : Jitter(std::random_device{}()) {}
  explicit Jitter(std::uint32_t seed) : random_(seed) {}

  std::chrono::nanoseconds operator()(std::chrono::nanoseconds interval) {
    std::uniform_real_distribution<double> spread(0.8, 1.2);
    return std::chrono::nanoseconds(
        static_cast<std::int64_t>(static_cast<double>(interval.count()) * spread(random_)));
  }

 private:
  std::minstd_rand random_;
};

}  // namespace fallbackd
