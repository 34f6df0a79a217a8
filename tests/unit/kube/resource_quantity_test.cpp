// SPDX-License-Identifier: Apache-2.0
#include "kube/resource_quantity.hpp"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::kube {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

TEST(ResourceQuantity, IsReadAsTheApiWritesIt) {
  struct Case {
    const char* text;
    std::int64_t units;
    std::int64_t thousandths;
  };
  for (const auto& one : std::vector<Case>{{"0", 0, 0},
                                           {"1", 1, 1000},
                                           {"+2", 2, 2000},
                                           {"500m", 1, 500},
                                           {"1500m", 2, 1500},
                                           {"0.5", 1, 500},
                                           {".5", 1, 500},
                                           {"1.", 1, 1000},
                                           {"100u", 1, 1},
                                           {"1n", 1, 1},
                                           {"0.0000000001", 1, 1},
                                           {"2k", 2000, 2000000},
                                           {"64Mi", 64 << 20, (64LL << 20) * 1000},
                                           {"1.5Gi", 3LL << 29, (3LL << 29) * 1000},
                                           {"128974848", 128974848, 128974848000},
                                           {"129e6", 129000000, 129000000000},
                                           {"1E3", 1000, 1000000},
                                           {"5e-1", 1, 500},
                                           {"1e-40", 1, 1},
                                           {"7E", 7000000000000000000, kLargest},
                                           {"1000E", kLargest, kLargest},
                                           {"1e99999999999", 1000000000000000000, kLargest},
                                           {"99999999999999999999999999", kLargest, kLargest},
                                           {"9223372036854775807", kLargest, kLargest}}) {
    const auto quantity = ResourceQuantity::parse(one.text);
    ASSERT_TRUE(quantity) << one.text;
    EXPECT_EQ(quantity->units(), one.units) << one.text;
    EXPECT_EQ(quantity->thousandths(), one.thousandths) << one.text;
  }
}

TEST(ResourceQuantity, InvalidQuantitiesAreRefused) {
  for (const auto& text :
       {std::string(), std::string("m"), std::string("."), std::string("-1"), std::string("1 Mi"),
        std::string("1mi"), std::string("1KiB"), std::string("1.2.3"), std::string("1e"), std::string("e3"),
        std::string("0x10"), std::string("1,5"), std::string(65, '1')}) {
    EXPECT_FALSE(ResourceQuantity::parse(text)) << text;
  }
}

}  // namespace
}  // namespace fallbackd::kube
