// SPDX-License-Identifier: Apache-2.0
// The rules of client-go's flowcontrol.Backoff with kubelet's 10 s and 300 s, as far as they can be inferred
// from outside.
#include "recovery/pull_back_off.hpp"

#include <chrono>

#include <gtest/gtest.h>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;

constexpr Stamp kBegin{1h};

/// When the back-off is over, for pulls that may have failed from 0 to `last`.
Monotonic::duration overAfter(Monotonic::duration last) {
  PullBackOff backOff(kBegin);
  backOff.closed(kBegin + last);
  return backOff.over() - kBegin;
}

TEST(PullBackOffTest, ItDoublesWithEachPullThatFitsTheWindow) {
  EXPECT_EQ(overAfter(0s), 10s);
  EXPECT_EQ(overAfter(5s), 15s);
  EXPECT_EQ(overAfter(9s), 19s) << "the first pull may have failed late";
  EXPECT_EQ(overAfter(10s), 30s);
  EXPECT_EQ(overAfter(29s), 49s);
  EXPECT_EQ(overAfter(30s), 70s);
  EXPECT_EQ(overAfter(70s), 150s);
  EXPECT_EQ(overAfter(150s), 310s);
  EXPECT_EQ(overAfter(310s), 610s) << "the limit is 300 s, not 320 s";
  EXPECT_EQ(overAfter(24h), 24h + 300s);
}

TEST(PullBackOffTest, NoBackOffBeforeTheFirstPull) {
  PullBackOff backOff(kBegin);
  EXPECT_EQ(backOff.over(), kBegin);
  backOff.closed(kBegin - 1s);
  EXPECT_EQ(backOff.over(), kBegin);
}

TEST(PullBackOffTest, AnUnknownBeginningAssumesTheLongestBackOff) {
  PullBackOff backOff(std::nullopt);
  backOff.closed(kBegin);
  EXPECT_EQ(backOff.over(), kBegin + 300s);
}

/// The stand-in ends and is made again: kubelet may pull in between.
TEST(PullBackOffTest, ANewWindowGoesOnWithTheSeries) {
  PullBackOff backOff(kBegin);
  backOff.closed(kBegin + 5s);
  backOff.opened(kBegin + 60s);
  backOff.closed(kBegin + 65s);
  EXPECT_EQ(backOff.over(), kBegin + 65s + 20s) << "kubelet did not pull while the stand-in ran";
}

TEST(PullBackOffTest, TheFirstPullMayFailInALaterWindow) {
  PullBackOff backOff(kBegin);
  backOff.closed(kBegin + 1s);
  backOff.opened(kBegin + 2s);
  backOff.closed(kBegin + 7s);
  EXPECT_EQ(backOff.over(), kBegin + 17s);
}

TEST(PullBackOffTest, TheSeriesIsForgottenAfterTwiceTheLongest) {
  PullBackOff backOff(kBegin);
  backOff.closed(kBegin + 200s);
  EXPECT_EQ(backOff.over(), kBegin + 360s);
  auto kept = backOff;
  kept.opened(kBegin + 800s);
  kept.closed(kBegin + 801s);
  EXPECT_EQ(kept.over(), kBegin + 1101s);
  backOff.opened(kBegin + 801s);
  backOff.closed(kBegin + 802s);
  EXPECT_EQ(backOff.over(), kBegin + 812s);
}

}  // namespace
}  // namespace fallbackd::recovery
