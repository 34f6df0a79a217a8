// SPDX-License-Identifier: Apache-2.0
#include "base/fair_gate.hpp"

#include "base/task_group.hpp"

#include <optional>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

namespace asio = boost::asio;

struct FairGateTest : testing::Test {
  TaskGroup::Id enter(int number, std::function<bool()> needless = nullptr) {
    return tasks.spawn(stay(number, std::move(needless)));
  }
  /// Runs everything that can run; nothing here waits for the clock.
  void poll() {
    loop.restart();
    loop.poll();
  }
  asio::awaitable<void> stay(int number, std::function<bool()> needless) {
    const FairGroup group{FairGroup::Kind::configured, "shop"};
    auto place = co_await gate.enter(group, "r", std::move(needless));
    if (!place) {
      turnedAway.push_back(number);
      co_return;
    }
    in.push_back(number);
    places.push_back(std::move(place));
  }

  asio::io_context loop;
  FairGate gate{loop.get_executor(), FairLimits{1, 1, 1}};
  TaskGroup tasks{loop.get_executor()};
  std::vector<FairGate::Place> places;
  std::vector<int> in;
  std::vector<int> turnedAway;
};

TEST_F(FairGateTest, TheNextEntersWhenOneLeaves) {
  for (const int number : {1, 2, 3}) enter(number);
  poll();
  EXPECT_EQ(in, (std::vector<int>{1}));
  places.clear();
  poll();
  EXPECT_EQ(in, (std::vector<int>{1, 2}));
  places.clear();
  poll();
  EXPECT_EQ(in, (std::vector<int>{1, 2, 3}));
}

TEST_F(FairGateTest, ACancelledWaiterLeavesTheQueue) {
  enter(1);
  const auto second = enter(2);
  enter(3);
  poll();
  tasks.cancel(second);
  poll();
  places.clear();
  poll();
  EXPECT_EQ(in, (std::vector<int>{1, 3}));
  places.clear();
  EXPECT_EQ(gate.queue().placed() + gate.queue().waiting(), 0U);
}

TEST_F(FairGateTest, ANonWaiterTakesNoPlace) {
  bool known = false;
  enter(1);
  enter(2, [&] { return known; });
  poll();
  gate.reconsider("r");
  poll();
  EXPECT_TRUE(turnedAway.empty());
  known = true;
  gate.reconsider("other");
  poll();
  EXPECT_TRUE(turnedAway.empty());
  gate.reconsider("r");
  poll();
  EXPECT_EQ(turnedAway, (std::vector<int>{2}));
  enter(3, [&] { return known; });
  poll();
  EXPECT_EQ(turnedAway, (std::vector<int>{2, 3}));
  EXPECT_EQ(gate.queue().waiting(), 0U);
}

TEST_F(FairGateTest, MorePlacesAdmitMore) {
  for (const int number : {1, 2, 3}) enter(number);
  poll();
  gate.reconfigure({2, 2, 2});
  poll();
  EXPECT_EQ(in, (std::vector<int>{1, 2}));
}

TEST(FairGate, APlaceMayOutliveTheGate) {
  asio::io_context loop;
  std::optional<FairGate> gate(std::in_place, loop.get_executor(), FairLimits{});
  FairGate::Place place;
  TaskGroup tasks(loop.get_executor());
  tasks.spawn([](FairGate& from, FairGate::Place& to) -> asio::awaitable<void> {
    const FairGroup group;
    to = co_await from.enter(group);
  }(*gate, place));
  loop.poll();
  ASSERT_TRUE(place);
  gate.reset();
}

}  // namespace
}  // namespace fallbackd
