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

/// One after the other: the Service always has two of them.
TEST_F(HandOver, ThreeReplicasThatShareTheirPortLoseNothing) {
  const auto counts = handOver({.replicas = 3, .lag = 100ms, .shared = true});
  EXPECT_EQ(counts.lost, 0U) << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
