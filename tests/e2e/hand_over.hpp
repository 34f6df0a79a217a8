// SPDX-License-Identifier: Apache-2.0
// The real containers take over from settled fallbacks while a Service routes to them.
#pragma once

#include "settle_fixture.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fallbackd::e2e {

class HandOver : public SettleNode {
 protected:
  static constexpr unsigned kRequestsPerSecond = 200;
  static constexpr const char* kSharedPort = "  handBack: {on: start, grace: 2s}\n";
  static constexpr const char* kOwnPort = "  handBack: {on: container}\n";

  struct Case {
    int replicas = 1;
    std::chrono::milliseconds lag{0};
    bool shared = false;
    double scale = 0.2;
  };
  /// Measures from the registry's return until all replicas are real, under load.
  RequestLoad::Counts handOver(const Case& one) {
    RequestLoad::Counts counts;
    handOver(one, counts);
    return counts;
  }
  /// The shortest time between the starts of two real containers, by the runtime's clock.
  [[nodiscard]] std::chrono::nanoseconds closestStarts(const std::vector<std::string>& names) const {
    std::vector<std::int64_t> starts;
    for (const auto& name : names) starts.push_back(kubelet_->status(name)->containers[0].state.startedAt);
    std::sort(starts.begin(), starts.end());
    auto closest = std::chrono::nanoseconds::max();
    for (std::size_t i = 1; i < starts.size(); ++i) {
      closest = std::min(closest, std::chrono::nanoseconds(starts[i] - starts[i - 1]));
    }
    return closest;
  }

 private:
  void handOver(const Case& one, RequestLoad::Counts& counts) {
    ASSERT_NO_FATAL_FAILURE(open(one.lag, one.shared ? kSharedPort : kOwnPort,
                                 one.shared ? std::vector<std::string>{"--graceful", "--share-port"}
                                            : std::vector<std::string>{"--graceful"},
                                 one.scale));
    std::vector<std::string> names;
    for (int i = 0; i < one.replicas; ++i) names.push_back("web-" + std::to_string(i));
    for (const auto& name : names) ASSERT_NO_FATAL_FAILURE(settled(name));
    ASSERT_TRUE(router_->waitForEndpoints(names.size(), kCeiling));
    RequestLoad load(router_->port(), kRequestsPerSecond);
    ASSERT_TRUE(load.waitForAnswers(kRequestsPerSecond, "fallback", kCeiling));
    ASSERT_NO_FATAL_FAILURE(bringImage());
    for (const auto& name : names) {
      ASSERT_TRUE(readyWith(name, shop_->image(), std::chrono::seconds(60))) << shop_->daemon->logText();
      EXPECT_EQ(kubelet_->events().of(name, "Killing").size(), 0U) << "no program found its port taken";
      EXPECT_EQ(kubelet_->events().of(name, "Started").size(), 1U);
    }
    ASSERT_TRUE(router_->waitForEndpoints(names.size(), kCeiling));
    ASSERT_TRUE(load.waitForAnswers(kRequestsPerSecond, "container", kCeiling));
    counts = load.finish();
  }
};

}  // namespace fallbackd::e2e
