// SPDX-License-Identifier: Apache-2.0
#include "base/fair_queue.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using Kind = FairGroup::Kind;
using Names = std::vector<std::string>;

/// A queue with named waiters.
struct FairQueueTest : testing::Test {
  void add(const std::string& name, Kind kind, const std::string& space, const std::string& resource = "r") {
    names[queue.add({kind, space}, resource)] = name;
  }
  /// Every waiter that gets a place now.
  Names letIn() {
    Names in;
    while (const auto ticket = queue.next()) in.push_back(names.at(*ticket));
    return in;
  }
  void remove(const std::string& name) {
    for (const auto& [ticket, known] : names) {
      if (known == name) queue.remove(ticket);
    }
  }

  FairQueue queue{FairLimits{2, 2, 2}};
  std::map<FairQueue::Ticket, std::string> names;
};

TEST_F(FairQueueTest, ServesInOrderWithinAGroup) {
  for (const auto* name : {"a", "b", "c"}) add(name, Kind::configured, "shop");
  EXPECT_EQ(letIn(), (Names{"a", "b"}));
  remove("b");
  EXPECT_EQ(letIn(), (Names{"c"}));
  remove("a");
  remove("c");
  EXPECT_EQ(queue.placed(), 0U);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST_F(FairQueueTest, AThousandOfOneNamespaceDelayAnotherByOneTurn) {
  for (int i = 0; i < 1000; ++i) add("flood", Kind::chosen, "evil");
  EXPECT_EQ(letIn().size(), 2U);
  add("honest", Kind::chosen, "shop");
  remove("flood");  // all of them leave, including those that have places
  EXPECT_EQ(letIn(), (Names{"honest"}));
}

TEST_F(FairQueueTest, GroupsTakeTurnsOneAtATime) {
  queue.reconfigure({1, 1, 1});
  Names served;
  for (const auto* space : {"a", "b", "c"}) {
    for (int i = 0; i < 3; ++i) add(space + std::to_string(i), Kind::chosen, space);
  }
  for (int i = 0; i < 9; ++i) {
    const auto in = letIn();
    ASSERT_EQ(in.size(), 1U);
    served.push_back(in[0]);
    remove(in[0]);
  }
  EXPECT_EQ(served, (Names{"a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"}));
}

TEST_F(FairQueueTest, ChosenImagesNeverGetReservedPlaces) {
  queue.reconfigure(FairLimits::of(8));
  for (const auto* space : {"a", "b", "c"}) {
    for (int i = 0; i < 9; ++i) add(space, Kind::chosen, space);
  }
  EXPECT_EQ(letIn(), (Names{"a", "b", "c", "a"})) << "four of eight, at most two for each";
  for (int i = 0; i < 9; ++i) add("operator's", Kind::configured, "shop");
  EXPECT_EQ(letIn(), Names(4, "operator's"));
  EXPECT_TRUE(queue.othersWait({Kind::chosen, "a"}));
  EXPECT_FALSE(queue.othersWait({Kind::configured, "shop"}))
      << "its own waiters and those of the other kind do not count";
}

TEST_F(FairQueueTest, OneGroupGetsPartOfTheUnreservedPlaces) {
  queue.reconfigure(FairLimits::of(8));
  for (int i = 0; i < 9; ++i) add("a", Kind::chosen, "a");
  EXPECT_EQ(letIn().size(), 2U);
  EXPECT_FALSE(queue.othersWait({Kind::chosen, "a"}));
}

TEST_F(FairQueueTest, WithOnePlaceEveryGroupGetsItInTurn) {
  queue.reconfigure(FairLimits::of(1));
  add("chosen", Kind::chosen, "a");
  add("configured", Kind::configured, "b");
  const auto first = letIn();
  ASSERT_EQ(first.size(), 1U);
  remove(first[0]);
  EXPECT_EQ(letIn().size(), 1U);
}

TEST_F(FairQueueTest, AFullResourceIsPassedOver) {
  queue.reconfigure({9, 9, 9, 2});
  for (const auto* name : {"a1", "a2", "a3"}) add(name, Kind::configured, "shop", "dead.x");
  add("b", Kind::configured, "shop", "well.x");
  add("other", Kind::configured, "cart", "dead.x");
  EXPECT_EQ(letIn(), (Names{"other", "a1", "b"})) << "two of dead.x over all configured groups";
  remove("a1");
  EXPECT_EQ(letIn().size(), 1U);
}

TEST_F(FairQueueTest, ChosenImagesTakeNoPlaceOfAResourceFromConfiguredOnes) {
  queue.reconfigure({9, 9, 9, 2});
  for (int i = 0; i < 3; ++i) add("evil", Kind::chosen, "evil", "r.x");
  EXPECT_EQ(letIn(), (Names{"evil", "evil"}));
  add("honest", Kind::chosen, "honest", "r.x");
  add("operator's", Kind::configured, "shop", "r.x");
  EXPECT_EQ(letIn(), (Names{"honest", "operator's"}));
}

TEST_F(FairQueueTest, ResourcesOfAGroupTakeTurns) {
  queue.reconfigure({1, 1, 1});
  for (const auto* name : {"a1", "a2", "a3"}) add(name, Kind::chosen, "x", "a");
  add("b1", Kind::chosen, "x", "b");
  Names served;
  for (int i = 0; i < 4; ++i) {
    served.push_back(letIn().at(0));
    remove(served.back());
  }
  EXPECT_EQ(served, (Names{"a1", "b1", "a2", "a3"}));
}

TEST_F(FairQueueTest, AWaiterThatLeftIsNotServed) {
  queue.reconfigure({1, 1, 1});
  for (const auto* name : {"a", "b", "c"}) add(name, Kind::configured, "shop");
  EXPECT_EQ(letIn(), (Names{"a"}));
  remove("b");
  remove("a");
  EXPECT_EQ(letIn(), (Names{"c"}));
  remove("never there");
}

TEST_F(FairQueueTest, FewerPlacesRevokeNone) {
  for (const auto* name : {"a", "b", "c"}) add(name, Kind::configured, "shop");
  EXPECT_EQ(letIn().size(), 2U);
  queue.reconfigure({1, 1, 1});
  EXPECT_EQ(queue.placed(), 2U);
  remove("a");
  EXPECT_TRUE(letIn().empty());
  remove("b");
  EXPECT_EQ(letIn(), (Names{"c"}));
}

}  // namespace
}  // namespace fallbackd
