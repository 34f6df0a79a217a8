// SPDX-License-Identifier: Apache-2.0
// The real container takes over from a settled fallback while a Service routes to it: which requests are
// lost.
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

/// One after the other: a pod has its rest before the next one makes way. What has reached a socket in the
/// moment in which it is closed is reset by the kernel; on a loaded node that may be some.
TEST_F(HandOver, ThreeReplicasThatShareTheirPortLoseNothing) {
  const auto counts = handOver({.replicas = 3, .lag = 100ms, .shared = true});
  if (HasFatalFailure()) return;
  EXPECT_GE(closestStarts({"web-0", "web-1", "web-2"}), 3s) << shop_->daemon->logText();
  EXPECT_EQ(router_->rejected(), 0U) << "the Service always has an endpoint";
  EXPECT_LE(counts.lost, 3U) << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
