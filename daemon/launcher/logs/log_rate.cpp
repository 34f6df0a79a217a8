// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/log_rate.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::launcher {

namespace {

constexpr double kBurstSeconds = 2;
// Taking less costs as much as a whole piece.
constexpr double kMinSeconds = 0.1;

}  // namespace

LogRate::LogRate(const config::LogLimits& limits, Stamp now)
    : bytesPerSecond_(static_cast<double>(limits.bytesPerSecond)),
      linesPerSecond_(static_cast<double>(limits.linesPerSecond)),
      bytes_(bytesPerSecond_ * kBurstSeconds),
      lines_(linesPerSecond_ * kBurstSeconds),
      filled_(now) {}

void LogRate::refill(Stamp now) {
  const double passed = std::chrono::duration<double>(now - filled_).count();
  if (passed <= 0) return;
  filled_ = now;
  bytes_ = std::min(bytes_ + passed * bytesPerSecond_, bytesPerSecond_ * kBurstSeconds);
  lines_ = std::min(lines_ + passed * linesPerSecond_, linesPerSecond_ * kBurstSeconds);
}

Monotonic::duration LogRate::wait(Stamp now) {
  refill(now);
  const double leastBytes = std::min<double>(kPieceBytes, bytesPerSecond_ * kMinSeconds);
  const double leastLines = std::max(1.0, linesPerSecond_ * kMinSeconds);
  const double seconds =
      std::max((leastBytes - bytes_) / bytesPerSecond_, (leastLines - lines_) / linesPerSecond_);
  if (seconds <= 0) return {};
  // Rounded up, so that enough is available after the wait.
  return std::chrono::duration_cast<Monotonic::duration>(std::chrono::duration<double>(seconds)) +
         std::chrono::microseconds(1);
}

LogRate::Allowance LogRate::allowance(Stamp now) {
  refill(now);
  Allowance given;
  given.bytes = static_cast<std::uint32_t>(std::clamp<double>(bytes_, 1, kPieceBytes));
  given.lines = static_cast<std::uint32_t>(std::max(lines_, 1.0));
  return given;
}

void LogRate::taken(std::uint32_t bytes, std::uint32_t lines) {
  bytes_ -= bytes;
  lines_ -= lines;
}

}  // namespace fallbackd::launcher
