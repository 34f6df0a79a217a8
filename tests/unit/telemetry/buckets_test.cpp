// SPDX-License-Identifier: Apache-2.0
// prometheus-cpp's buckets include their upper bound: a value equal to it counts in that bucket.
#include "base/strings.hpp"
#include "telemetry/metrics.hpp"

#include <string>

#include <gtest/gtest.h>

namespace fallbackd::telemetry {
namespace {

using namespace std::chrono_literals;

/// The count of the bucket with that bound; -1 if there is no such bucket.
int bucket(const std::string& metrics, const std::string& bound) {
  for (const auto line : split(metrics, '\n')) {
    if (line.starts_with("fallbackd_recovery_seconds_bucket{") &&
        line.find("le=\"" + bound + "\"") != std::string_view::npos) {
      return std::stoi(std::string(line.substr(line.rfind(' ') + 1)));
    }
  }
  return -1;
}

TEST(Buckets, AValueEqualToABoundCountsBelowIt) {
  Metrics metrics("test");
  metrics.recovery.phase("shop", Cause::dns, Phase::total, 230ms, "r1");
  metrics.recovery.phase("shop", Cause::dns, Phase::total, 230ms + 1us, "r2");
  const auto text = metrics.serialize();
  EXPECT_EQ(bucket(text, "0.15"), 0);
  EXPECT_EQ(bucket(text, "0.23"), 1);
  EXPECT_EQ(bucket(text, "0.3"), 2);
}

// Between bounds a quantile is a guess: with the next bound at 5 s the alert would fire for 3.05 s.
TEST(Buckets, TheLimitsOfAlertsAreBounds) {
  Metrics metrics("test");
  metrics.recovery.phase("shop", Cause::timeout, Phase::total, 3050ms, "r1");
  const auto text = metrics.serialize();
  for (const auto* limit : {"0.23", "2.0", "3.23"}) EXPECT_NE(bucket(text, limit), -1) << limit;
  EXPECT_EQ(bucket(text, "3.23"), 1);
}

}  // namespace
}  // namespace fallbackd::telemetry
