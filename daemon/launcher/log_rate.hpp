// How fast the output of one fallback is taken. What is not taken stays in its FIFO, and once that is full
// the process waits in its write: a flood costs who makes it, and nothing is lost.
#pragma once

#include "base/clock.hpp"
#include "config/model.hpp"

#include <cstdint>

namespace fallbackd::launcher {

/// Two buckets, of bytes and of lines, that hold two seconds' worth. Pure: the caller has the clock.
class LogRate {
 public:
  static constexpr std::uint32_t kPieceBytes = 64 * 1024;  // taken at once, at most

  struct Allowance {
    std::uint32_t bytes = 0;
    std::uint32_t lines = 0;
  };

  LogRate(const config::LogLimits& limits, Stamp now);

  /// How long to wait until a piece is worth the while; zero: now.
  [[nodiscard]] Monotonic::duration wait(Stamp now);
  /// Of the next piece.
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
