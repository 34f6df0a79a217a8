// SPDX-License-Identifier: Apache-2.0
#include "config/quantity.hpp"

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

TEST(Quantity, Bytes) {
  EXPECT_EQ(parseBytes("1048576"), 1048576U);
  EXPECT_EQ(parseBytes("64Mi"), 64U << 20);
  EXPECT_EQ(parseBytes("1G"), 1000000000U);
  EXPECT_EQ(parseBytes("1.5Gi"), 3U << 29);
  EXPECT_EQ(parseBytes("2k"), 2000U);
  for (const auto* text :
       {"", "-1", "+1", "Mi", "1 Mi", "1mi", "1MB", "1e3", "0x10", "inf", "9999999P", " 1"}) {
    EXPECT_EQ(parseBytes(text), std::nullopt) << text;
  }
}

TEST(Quantity, Cpus) {
  EXPECT_EQ(parseCpus("2"), 2.0);
  EXPECT_EQ(parseCpus("0.5"), 0.5);
  EXPECT_EQ(parseCpus("500m"), 0.5);
  for (const auto* text : {"", "0", "0m", "-1", "1k", "500mm", "1025", "nan"}) {
    EXPECT_EQ(parseCpus(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace fallbackd::config
