// SPDX-License-Identifier: Apache-2.0
#include "domain/cause.hpp"

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

TEST(Cause, NamesRoundTrip) {
  for (const auto name : causeNames()) EXPECT_EQ(toString(*parseCause(name)), name);
  EXPECT_FALSE(parseCause("nope"));
}

}  // namespace
}  // namespace fallbackd
