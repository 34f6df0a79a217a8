// SPDX-License-Identifier: Apache-2.0
#include "watcher/waiting.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

/// The status, its readers and the status page rely on these words.
TEST(Waiting, TheNamesOfItsStatesStayAsTheyAre) {
  using Waits = Waiting::State;
  EXPECT_EQ(toString(Waits::asking), "asking");
  EXPECT_EQ(toString(Waits::failed), "failed");
  EXPECT_EQ(toString(Waits::undecided), "undecided");
  EXPECT_EQ(toString(Waits::image_present), "image present");
  EXPECT_EQ(toString(Waits::not_started), "not started");
  EXPECT_EQ(toString(Waits::after_init_containers), "after init containers");
  EXPECT_EQ(toString(Waits::never_pulled), "never pulled");
}

}  // namespace
}  // namespace fallbackd::watcher
