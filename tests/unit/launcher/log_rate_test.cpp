// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/log_rate.hpp"

#include <algorithm>
#include <chrono>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

using namespace std::chrono_literals;

const Stamp kStart{std::chrono::hours(1)};

config::LogLimits limits(std::uint64_t bytes, unsigned lines) {
  config::LogLimits made;
  made.bytesPerSecond = bytes;
  made.linesPerSecond = lines;
  return made;
}

/// The number of bytes that a flood of such lines may write within `length`.
std::uint64_t taken(LogRate& rate, std::uint32_t lineBytes, std::chrono::seconds length) {
  std::uint64_t bytes = 0;
  Stamp now = kStart;
  while (now < kStart + length) {
    if (const auto pause = rate.wait(now); pause > Monotonic::duration::zero()) {
      now += pause;
      continue;
    }
    const auto allowed = rate.allowance(now);
    const auto lines = std::min(allowed.lines, std::max(1U, allowed.bytes / lineBytes));
    rate.taken(lines * lineBytes, lines);
    bytes += lines * lineBytes;
    now += 1ms;
  }
  return bytes;
}

TEST(LogRate, TwoSecondsWorthAtOnce) {
  LogRate rate(limits(1 << 20, 1'000'000), kStart);
  std::uint32_t bytes = 0;
  while (rate.wait(kStart) == Monotonic::duration::zero()) {
    const auto allowed = rate.allowance(kStart);
    EXPECT_LE(allowed.bytes, LogRate::kPieceBytes);
    rate.taken(allowed.bytes, 1);
    bytes += allowed.bytes;
  }
  EXPECT_GE(bytes, (2U << 20) - 2 * LogRate::kPieceBytes);
  EXPECT_LE(bytes, 2U << 20);
}

TEST(LogRate, LongLinesAreLimitedByBytes) {
  LogRate rate(limits(1 << 20, 10'000), kStart);
  const auto bytes = taken(rate, 10'000, 60s);
  EXPECT_GE(bytes, 60ULL << 20);
  EXPECT_LE(bytes, 63ULL << 20);
}

TEST(LogRate, ShortLinesAreLimitedByLines) {
  LogRate rate(limits(1 << 20, 10'000), kStart);
  const auto lines = taken(rate, 2, 60s) / 2;
  EXPECT_GE(lines, 600'000U);
  EXPECT_LE(lines, 630'000U);
}

TEST(LogRate, LinesAloneAreWaitedFor) {
  LogRate rate(limits(1 << 20, 10'000), kStart);
  rate.taken(0, 20'000);
  EXPECT_GT(rate.wait(kStart), Monotonic::duration::zero());
}

TEST(LogRate, AWaitEndsWhenAWorthwhileAmountIsAllowed) {
  LogRate rate(limits(1 << 20, 10'000), kStart);
  rate.taken(2 << 20, 0);
  const auto pause = rate.wait(kStart);
  EXPECT_GE(pause, 60ms);
  EXPECT_LE(pause, 70ms);
  EXPECT_EQ(rate.wait(kStart + pause), Monotonic::duration::zero());
}

}  // namespace
}  // namespace fallbackd::launcher
