// SPDX-License-Identifier: Apache-2.0
#include "watcher/waiting.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

/// The status, its readers and the status page compare these words.
TEST(Waiting, TheNamesOfItsStatesStayAsTheyAre) {
  using State = Waiting::State;
  EXPECT_EQ(toString(State::asking), "asking");
  EXPECT_EQ(toString(State::failed), "failed");
  EXPECT_EQ(toString(State::undecided), "undecided");
  EXPECT_EQ(toString(State::image_present), "image present");
  EXPECT_EQ(toString(State::not_started), "not started");
  EXPECT_EQ(toString(State::after_init_containers), "after init containers");
  EXPECT_EQ(toString(State::never_pulled), "never pulled");
}

}  // namespace
}  // namespace fallbackd::watcher
