// SPDX-License-Identifier: Apache-2.0
#include "recovery/departures.hpp"

#include "fake_clock.hpp"

#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;

struct DeparturesTest : testing::Test {
  std::size_t leave(std::size_t wanted) {
    std::size_t left = 0;
    for (; left < wanted; ++left) {
      auto place = departures.leave("checkout");
      if (!place) break;
      places.push_back(std::move(*place));
    }
    return left;
  }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  Departures departures{clock};
  std::vector<Departures::Place> places;
};

TEST_F(DeparturesTest, AQuarterIsAwayAtATime) {
  for (int i = 0; i < 12; ++i) departures.runs("checkout", 1);
  EXPECT_EQ(leave(100), 3U);
  places.clear();
  EXPECT_EQ(leave(100), 0U) << "the places become free only after a rest";
  clock.advance(loop, Departures::kRest);
  EXPECT_EQ(leave(100), 2U) << "nine pods are left";
}

TEST_F(DeparturesTest, OneOfFewMayLeave) {
  departures.runs("checkout", 1);
  EXPECT_EQ(leave(100), 1U);
  EXPECT_TRUE(departures.leave("other")) << "workloads do not wait for each other";
}

TEST_F(DeparturesTest, OneThatLeavesIsCountedOnce) {
  for (int i = 0; i < 11; ++i) departures.runs("checkout", 1);
  EXPECT_EQ(leave(100), 2U) << "a quarter of eleven, although two have already left";
  EXPECT_EQ(leave(100), 0U);
}

TEST_F(DeparturesTest, APlaceThatNobodyGivesBackExpires) {
  for (int i = 0; i < 3; ++i) departures.runs("checkout", 1);
  EXPECT_EQ(leave(100), 1U);
  clock.advance(loop, Departures::kLimit - 1s);
  EXPECT_EQ(leave(100), 0U);
  places[0].renew();
  clock.advance(loop, 2s);
  EXPECT_EQ(leave(100), 0U) << "the renewed place has not expired";
  clock.advance(loop, Departures::kLimit);
  departures.succeeded("checkout");
  EXPECT_EQ(leave(100), 0U) << "the place rests after its container came";
  clock.advance(loop, Departures::kRest);
  EXPECT_EQ(leave(100), 1U);
  places.erase(places.begin());
  EXPECT_EQ(leave(100), 0U) << "an expired place is already free";
  clock.advance(loop, Departures::kRest);
  EXPECT_EQ(leave(100), 0U) << "it does not become free a second time";
}

TEST_F(DeparturesTest, OneThatLeftInVainStopsTheOthersForAWhile) {
  for (int i = 0; i < 12; ++i) departures.runs("checkout", 1);
  EXPECT_EQ(leave(1), 1U);
  clock.advance(loop, Departures::kLimit);
  EXPECT_EQ(leave(100), 0U);
  EXPECT_TRUE(departures.stalled("checkout"));
  EXPECT_FALSE(departures.stalled("other"));
  clock.advance(loop, Departures::kStalled);
  EXPECT_EQ(leave(100), 1U) << "only one may leave, not a quarter";
  clock.advance(loop, Departures::kLimit);
  EXPECT_EQ(leave(100), 0U);
  departures.succeeded("checkout");
  EXPECT_FALSE(departures.stalled("checkout"));
  clock.advance(loop, Departures::kRest);
  EXPECT_EQ(leave(100), 2U);
}

TEST_F(DeparturesTest, OneOfSeveralThatLeftInVainStopsNobody) {
  for (int i = 0; i < 12; ++i) departures.runs("checkout", 1);
  EXPECT_EQ(leave(100), 3U);
  clock.advance(loop, 10s);
  departures.succeeded("checkout");
  places.pop_back();
  clock.advance(loop, Departures::kLimit);
  EXPECT_EQ(leave(100), 2U) << "a quarter of the nine that are left";
  EXPECT_FALSE(departures.stalled("checkout"));
}

TEST_F(DeparturesTest, APodThatNeedsLongerRestsLonger) {
  departures.runs("checkout", 2);
  auto place = departures.leave("checkout", 20s);
  ASSERT_TRUE(place);
  place.reset();
  clock.advance(loop, 19s);
  EXPECT_FALSE(departures.leave("checkout"));
  clock.advance(loop, 1s);
  EXPECT_TRUE(departures.leave("checkout"));
}

TEST_F(DeparturesTest, ReadinessThatIsKnownCountsInsteadOfARest) {
  departures.runs("checkout", 2);
  std::optional<bool> ready = false;
  auto place = departures.leave("checkout", 20s, [&] { return ready; });
  ASSERT_TRUE(place);
  ready = true;
  clock.advance(loop, 5s);
  EXPECT_FALSE(departures.hasRoom("checkout")) << "the pod has not given back its place";
  place.reset();
  EXPECT_FALSE(departures.hasRoom("checkout"));
  clock.advance(loop, Departures::kRouted);
  EXPECT_TRUE(departures.hasRoom("checkout"));
}

}  // namespace
}  // namespace fallbackd::recovery
