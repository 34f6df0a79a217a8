// SPDX-License-Identifier: Apache-2.0
#include "domain/binary_ref.hpp"

#include <compare>
#include <optional>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

TEST(BinaryRef, ReadsNameAndVersion) {
  const auto ref = parseBinaryRef("checkout@1.8.3");
  ASSERT_TRUE(ref);
  EXPECT_EQ(ref->fileName(), "checkout-v1.8.3");
  EXPECT_EQ(parseBinaryFileName("checkout-v1.8.3"), *ref);
  EXPECT_EQ(parseBinaryFileName("a-b-v1.0-v2"), (BinaryRef{"a-b", "1.0-v2"}));
  for (const auto bad : {"checkout", "@1", "a@", "A@1", "a@v1", "../a@1", "a@1/2", "a-v1@2", "a@1 "}) {
    EXPECT_FALSE(parseBinaryRef(bad)) << bad;
  }
  for (const auto bad :
       {"checkout", "checkout-v", "checkout-vx", "-v1", "checkout-v1.8.3.sigstore.json/", "a/b-v1"}) {
    EXPECT_FALSE(parseBinaryFileName(bad)) << bad;
  }
}

TEST(BinaryRef, OrdersVersionsBySemver) {
  const std::vector<std::string_view> ascending{
      "0.9",          "1.0.0-alpha",   "1.0.0-alpha.1", "1.0.0-alpha.beta",
      "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",    "1.0.0",
      "1.0.1",        "1.2",           "1.10",          "18446744073709551617"};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(compareVersions(ascending[i], ascending[j]), i <=> j) << ascending[i] << " " << ascending[j];
    }
  }
  EXPECT_EQ(compareVersions("1.0", "1.0.0"), std::weak_ordering::equivalent);
  EXPECT_EQ(compareVersions("1.0+a", "1.0+b"), std::weak_ordering::equivalent);
}

TEST(BinaryRef, AnImagesTagIsComparedIfItNamesAVersion) {
  EXPECT_EQ(sameVersion("1.8.3", "1.8.3"), true);
  EXPECT_EQ(sameVersion("v1.8.3", "1.8.3"), true);
  EXPECT_EQ(sameVersion("1.8.3-rc.1", "1.8.3"), false);
  EXPECT_EQ(sameVersion("1.9.0", "1.8.3"), false);
  for (const char* silent : {"latest", "vanilla", "v", ""}) {
    EXPECT_EQ(sameVersion(silent, "1.8.3"), std::nullopt) << silent;
  }
}

}  // namespace
}  // namespace fallbackd
