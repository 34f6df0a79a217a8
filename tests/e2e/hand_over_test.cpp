// SPDX-License-Identifier: Apache-2.0
// The real container takes over from a settled fallback while a Service routes to it: counts the lost
// requests.
#include "hand_over.hpp"

#include <chrono>
#include <cstdio>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

TEST_F(HandOver, OneReplica) {
  const auto counts = handOver({});
  if (HasFatalFailure()) return;
  std::printf("one replica: %u of %u lost\n", counts.lost, counts.sent);
  EXPECT_GT(counts.answered, counts.lost);
}

/// One after the other: a pod gets its rest before the next one makes way. The kernel resets what has reached
/// a socket at the moment of its closing; on a loaded node that may be a few requests.
TEST_F(HandOver, ThreeReplicasThatShareTheirPortLoseNothing) {
  const auto counts = handOver({.replicas = 3, .lag = 100ms, .shared = true});
  if (HasFatalFailure()) return;
  EXPECT_GE(closestStarts({"web-0", "web-1", "web-2"}), 3s) << shop_->daemon->logText();
  EXPECT_EQ(router_->rejected(), 0U) << "the Service always has an endpoint";
  EXPECT_LE(counts.lost, 3U) << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
