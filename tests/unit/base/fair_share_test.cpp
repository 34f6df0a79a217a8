// SPDX-License-Identifier: Apache-2.0
#include "base/fair_share.hpp"

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using Wanted = std::map<std::string, std::set<int>>;
using Items = std::set<int>;

TEST(FairShare, EverybodyGetsEverythingWhereThereIsRoom) {
  EXPECT_EQ(fairShare(Wanted{}, 3), Items{});
  EXPECT_EQ(fairShare(Wanted{{"a", {1, 2}}, {"b", {3}}, {"c", {}}}, 3), (Items{1, 2, 3}));
}

TEST(FairShare, GroupsTakeTurns) {
  Items many;
  for (int i = 100; i < 200; ++i) many.insert(i);
  EXPECT_EQ(fairShare(Wanted{{"a", many}, {"b", {1, 2}}, {"c", {3}}}, 6), (Items{1, 2, 3, 100, 101, 102}));
  EXPECT_EQ(fairShare(Wanted{{"a", many}, {"b", {1, 2}}}, 0), Items{});
}

TEST(FairShare, AnItemThatSeveralWantTakesOnePlace) {
  EXPECT_EQ(fairShare(Wanted{{"a", {1, 2, 5}}, {"b", {1, 3}}, {"c", {2, 4}}}, 4), (Items{1, 2, 3, 5}))
      << "a 1, b 3 (it has 1), c 2, a 5";
}

}  // namespace
}  // namespace fallbackd
