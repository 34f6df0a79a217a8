// SPDX-License-Identifier: Apache-2.0
#include "watcher/circuits.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using State = Circuits::State;

const Stamp kNow = Stamp(1h);
const Failure kRefused{Cause::unreachable, "refused"};
const Failure kBadGateway{Cause::server_error, "502"};
const Failure kMissing{Cause::not_found, "not found"};

struct CircuitsTest : testing::Test {
  State stateOf(const std::string& host) const {
    for (const auto& one : circuits.hosts(kNow)) {
      if (one.name == host) return one.state;
    }
    return State::closed;
  }
  Circuits circuits;
};

TEST_F(CircuitsTest, NothingIsKnownOfWhatWasNeverAsked) {
  EXPECT_FALSE(circuits.known("r", "r/a", kNow));
  EXPECT_FALSE(circuits.enter("r", "r/a", kNow));
  EXPECT_TRUE(circuits.hosts(kNow).empty());
}

TEST_F(CircuitsTest, ARegistryThatCannotBeReachedFailsAllItsImagesAndNoOthers) {
  circuits.failed("r", "r/a", kRefused, kNow, 10s);
  ASSERT_TRUE(circuits.known("r", "r/b", kNow));
  EXPECT_EQ(circuits.known("r", "r/b", kNow)->cause, Cause::unreachable);
  EXPECT_FALSE(circuits.known("s", "s/a", kNow));
  EXPECT_EQ(stateOf("r"), State::open);
}

TEST_F(CircuitsTest, OneImageWhoseLayersCannotBeReachedBlamesItselfTwoBlameTheRegistry) {
  const Failure deadStore{Cause::unreachable, "refused", Extent::one_image};
  circuits.failed("r", "r/a", deadStore, kNow, 10s);
  EXPECT_TRUE(circuits.known("r", "r/a", kNow));
  EXPECT_FALSE(circuits.known("r", "r/b", kNow));
  circuits.failed("r", "r/b", deadStore, kNow, 10s);
  EXPECT_TRUE(circuits.known("r", "r/c", kNow));
}

TEST_F(CircuitsTest, OneImageWithAServerErrorBlamesItselfTwoBlameTheRegistry) {
  circuits.failed("r", "r/a", kBadGateway, kNow, 10s);
  EXPECT_TRUE(circuits.known("r", "r/a", kNow));
  EXPECT_FALSE(circuits.known("r", "r/b", kNow));
  circuits.failed("r", "r/a", kBadGateway, kNow + 11s, 10s);
  EXPECT_FALSE(circuits.known("r", "r/b", kNow + 11s)) << "the same image again adds nothing";
  circuits.failed("r", "r/b", kBadGateway, kNow + 12s, 10s);
  EXPECT_TRUE(circuits.known("r", "r/c", kNow + 12s));
}

TEST_F(CircuitsTest, AGoodAnswerBetweenTwoErrorsKeepsItClosed) {
  circuits.failed("r", "r/a", kBadGateway, kNow, 10s);
  circuits.succeeded("r", "r/good", kNow);
  circuits.failed("r", "r/b", kBadGateway, kNow, 10s);
  EXPECT_EQ(stateOf("r"), State::closed);
}

TEST_F(CircuitsTest, OneAsksAgainWhenThePauseIsOver) {
  circuits.failed("r", "r/a", kRefused, kNow, 10s);
  EXPECT_TRUE(circuits.enter("r", "r/b", kNow + 9s));
  EXPECT_FALSE(circuits.enter("r", "r/b", kNow + 10s));
  EXPECT_EQ(stateOf("r"), State::half_open);
  EXPECT_TRUE(circuits.enter("r", "r/c", kNow + 10s)) << "one is enough";
  EXPECT_FALSE(circuits.failed("r", "r/b", kRefused, kNow + 10s, 10s));
  EXPECT_EQ(stateOf("r"), State::open);
  EXPECT_TRUE(circuits.enter("r", "r/c", kNow + 11s));
}

TEST_F(CircuitsTest, AnyAnswerOfTheRegistryClosesIt) {
  for (const auto& answer : {kMissing, Failure{Cause::unauthorized, "401"}}) {
    circuits.failed("r", "r/a", kRefused, kNow, 10s);
    circuits.enter("r", "r/b", kNow + 10s);
    EXPECT_TRUE(circuits.failed("r", "r/b", answer, kNow + 10s, 10s));
    EXPECT_EQ(stateOf("r"), State::closed);
    EXPECT_FALSE(circuits.known("r", "r/a", kNow + 10s)) << "images that failed with it are probed again";
    EXPECT_EQ(circuits.known("r", "r/b", kNow + 10s)->cause, answer.cause) << "but not the wrong tag";
  }
  circuits.failed("r", "r/a", kRefused, kNow, 10s);
  circuits.enter("r", "r/b", kNow + 10s);
  EXPECT_TRUE(circuits.succeeded("r", "r/b", kNow + 10s));
  EXPECT_FALSE(circuits.succeeded("r", "r/b", kNow + 10s)) << "the circuit is already closed";
}

TEST_F(CircuitsTest, AFailureOfTheNodeLeavesTheCircuitUnchanged) {
  circuits.failed("r", "r/a", Failure{Cause::disk, "full"}, kNow, 10s);
  EXPECT_EQ(stateOf("r"), State::closed);
  circuits.failed("r", "r/a", kRefused, kNow, 10s);
  circuits.enter("r", "r/b", kNow + 10s);
  circuits.failed("r", "r/b", Failure{Cause::disk, "full"}, kNow + 10s, 10s);
  EXPECT_EQ(circuits.known("r", "r/c", kNow + 10s)->cause, Cause::unreachable);
}

TEST_F(CircuitsTest, AnAbandonedPullLeavesTheQuestionOpen) {
  circuits.failed("r", "r/a", kRefused, kNow, 10s);
  circuits.enter("r", "r/a", kNow + 10s);
  circuits.abandoned("r", "r/a");
  EXPECT_FALSE(circuits.enter("r", "r/b", kNow + 10s));
}

TEST(CircuitsLimits, WhatIsClosedOrOldestIsForgotten) {
  Circuits circuits(Circuits::Limits{2, 2});
  circuits.failed("a", "a/1", kRefused, kNow, 1h);
  circuits.succeeded("b", "b/1", kNow);
  circuits.failed("c", "c/1", kRefused, kNow + 1s, 1h);
  EXPECT_TRUE(circuits.known("a", "a/1", kNow + 2s)) << "b was closed";
  circuits.failed("d", "d/1", kRefused, kNow + 2s, 1h);
  EXPECT_FALSE(circuits.known("a", "a/1", kNow + 3s)) << "the oldest was dropped";
  EXPECT_TRUE(circuits.known("c", "c/1", kNow + 3s));
  EXPECT_EQ(circuits.hosts(kNow + 4s).size(), 2U);
  for (const auto* image : {"d/2", "d/3", "d/4"}) circuits.failed("d", image, kMissing, kNow + 3s, 1h);
  EXPECT_FALSE(circuits.known("d", "d/2", kNow + 4s));
  EXPECT_TRUE(circuits.known("d", "d/4", kNow + 4s));
}

TEST_F(CircuitsTest, WhatFailedAMomentAgoIsRecentUntilItIsDueAgain) {
  EXPECT_FALSE(circuits.recent("r", "r/a:1", kNow));
  circuits.failed("r", "r/a:1\nfile", kBadGateway, kNow, 10s);
  ASSERT_TRUE(circuits.recent("r", "r/a:1", kNow + 9s)) << "whichever credentials failed";
  EXPECT_EQ(circuits.recent("r", "r/a:1", kNow + 9s)->cause, Cause::server_error);
  EXPECT_FALSE(circuits.recent("r", "r/a:10", kNow + 9s)) << "a different image";
  EXPECT_FALSE(circuits.recent("r", "r/a:1", kNow + 10s)) << "the next probe is due";
  circuits.failed("r", "r/b:1\n", kRefused, kNow, 10s);
  EXPECT_TRUE(circuits.recent("r", "r/c:1", kNow + 9s)) << "the whole registry";
  ASSERT_FALSE(circuits.enter("r", "r/c:1\n", kNow + 11s));
  EXPECT_FALSE(circuits.recent("r", "r/c:1", kNow + 11s)) << "a probe is under way";
}

}  // namespace
}  // namespace fallbackd::watcher
