// SPDX-License-Identifier: Apache-2.0
// How fast a fallback's output is read. What is not read stays in the FIFO, and once that is full the process
// blocks in its write: a flood slows down its author, and nothing is lost.
#pragma once

#include "base/clock.hpp"
#include "config/model.hpp"

#include <cstdint>

namespace fallbackd::launcher {

/// Two token buckets, bytes and lines, each for two seconds' worth. Pure: the caller has the clock.
class LogRate {
 public:
  static constexpr std::uint32_t kPieceBytes = 64 * 1024;  // at most this much is read at once

  struct Allowance {
    std::uint32_t bytes = 0;
    std::uint32_t lines = 0;
  };

  LogRate(const config::LogLimits& limits, Stamp now);

  /// How long to wait until a piece is worth reading; zero: now.
  [[nodiscard]] Monotonic::duration wait(Stamp now);
  /// Limits for the next piece.
  [[nodiscard]] Allowance allowance(Stamp now);
  void taken(std::uint32_t bytes, std::uint32_t lines);

 private:
  void refill(Stamp now);

  double bytesPerSecond_;
  double linesPerSecond_;
  double bytes_;
  double lines_;
  Stamp filled_;
};

}  // namespace fallbackd::launcher
