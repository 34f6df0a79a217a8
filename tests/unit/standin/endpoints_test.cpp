// SPDX-License-Identifier: Apache-2.0
#include "standin/endpoints.hpp"

#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

bool last(EndpointFacts facts) {
  return isLastEndpoint(facts);
}

TEST(LastEndpoint, IsTheOnlyReadyOneOfSeveral) {
  EXPECT_TRUE(last({.ready = true, .wanted = 3, .ownerReady = 1}));
  EXPECT_TRUE(last({.ready = {}, .wanted = 3, .ownerReady = 0})) << "it may be ready by now";
  EXPECT_TRUE(last({.ready = true, .onNode = 1})) << "kubelet alone describes the pods";
}

TEST(LastEndpoint, IsNotAPodThatCanBeSpared) {
  EXPECT_FALSE(last({})) << "nothing is known";
  EXPECT_FALSE(last({.ready = true, .wanted = 1, .ownerReady = 1})) << "there is nothing to wait for";
  EXPECT_FALSE(last({.ready = true, .wanted = 3, .ownerReady = 2}));
  EXPECT_FALSE(last({.ready = true, .onNode = 2, .readyOnNode = 1, .wanted = 3, .ownerReady = 1}))
      << "the node knows it before the owner";
  EXPECT_FALSE(last({.ready = false, .wanted = 3, .ownerReady = 0})) << "no traffic is routed to it";
}

}  // namespace
}  // namespace fallbackd::standin
