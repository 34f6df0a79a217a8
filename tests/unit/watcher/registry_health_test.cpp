// SPDX-License-Identifier: Apache-2.0
// The scope in which a verdict about a registry counts.
#include "watcher/registry_health.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using State = Circuits::State;

const Stamp kBegin = Stamp(1h);
const Failure kRefusal{Cause::unreachable, "refused"};
const Failure kGatewayError{Cause::server_error, "502"};
const Failure kNoSuchImage{Cause::not_found, "not found"};
const Scope kNode;
const Scope kEvil = "evil";
const Scope kShop = "shop";
const Scope kThird = "third";

struct RegistryHealthTest : testing::Test {
  [[nodiscard]] bool known(const Scope& scope, Stamp now = kBegin) const {
    return health.known(scope, "r", "r/any", now).has_value();
  }
  void fail(const Scope& scope, const std::string& image, const Failure& failure = kRefusal,
            Stamp now = kBegin) {
    health.failed(scope, "r", image, failure, now, 10s);
  }
  [[nodiscard]] Circuits::Host host(Stamp now = kBegin) const { return health.hosts(now).at(0); }
  RegistryHealth health;
};

TEST_F(RegistryHealthTest, AConfiguredImageDecidesForAll) {
  fail(kNode, "r/a");
  for (const auto& scope : {kNode, kEvil, kShop}) EXPECT_TRUE(known(scope));
  EXPECT_EQ(host().state, State::open);
}

TEST_F(RegistryHealthTest, AnAnnotatedImageDecidesForItsNamespaceAlone) {
  fail(kEvil, "r/a");
  fail(kEvil, "r/b");
  EXPECT_TRUE(known(kEvil));
  EXPECT_FALSE(known(kShop));
  EXPECT_FALSE(known(kNode));
  EXPECT_EQ(host().state, State::closed);
  EXPECT_EQ(host().namespaces, std::vector<std::string>{"evil"});
}

TEST_F(RegistryHealthTest, TwoNamespacesDecideForAll) {
  fail(kEvil, "r/a");
  fail(kShop, "r/a");
  for (const auto& scope : {kNode, kThird}) EXPECT_TRUE(known(scope));
  EXPECT_EQ(host().state, State::open);
  EXPECT_EQ(host().failure.cause, Cause::unreachable);
  EXPECT_FALSE(health.known(kNode, "other", "other/a", kBegin));
}

TEST_F(RegistryHealthTest, TwoNamespacesWithOneBrokenImageBlameTheImage) {
  fail(kEvil, "r/a", kGatewayError);
  fail(kShop, "r/a", kGatewayError);
  EXPECT_FALSE(known(kNode));
  fail(kShop, "r/b", kGatewayError);
  EXPECT_TRUE(known(kNode)) << "two images, two namespaces";
}

TEST_F(RegistryHealthTest, TwoNamespacesThatCannotReachTheLayersOfOneImageBlameTheImage) {
  const Failure deadStore{Cause::unreachable, "refused", Extent::one_image};
  fail(kEvil, "r/a", deadStore);
  fail(kShop, "r/a", deadStore);
  EXPECT_FALSE(known(kNode));
  fail(kNode, "r/a", deadStore);
  EXPECT_FALSE(known(kThird)) << "the node's own failure blames only the image, too";
}

TEST_F(RegistryHealthTest, AVerdictOfTwoNamespacesHoldsUntilOneFindsOtherwise) {
  fail(kEvil, "r/a");
  fail(kShop, "r/a");
  EXPECT_FALSE(health.enter(kShop, "r", "r/a", kBegin + 10s)) << "it probes again after the pause";
  EXPECT_TRUE(known(kNode, kBegin + 10s)) << "the others wait for the answer";
  EXPECT_TRUE(health.succeeded(kShop, "r", "r/a", kBegin + 11s));
  EXPECT_FALSE(known(kNode, kBegin + 11s));
  EXPECT_FALSE(known(kThird, kBegin + 11s));
  EXPECT_TRUE(known(kEvil, kBegin + 9s));
}

TEST_F(RegistryHealthTest, AVerdictOfTwoNamespacesIsForgottenWhenTheyStopAsking) {
  fail(kEvil, "r/a");
  fail(kShop, "r/a");
  EXPECT_TRUE(known(kNode, kBegin + 19s));
  EXPECT_FALSE(known(kNode, kBegin + 20s));
  EXPECT_EQ(host(kBegin + 20s).state, State::closed);
}

TEST_F(RegistryHealthTest, WhetherAHostStillFailsIsNotKnownOnceNobodyAsks) {
  fail(kNode, "r/a");
  EXPECT_EQ(host(kBegin + 69s).state, State::open) << "waiting callers may be waiting for their turn";
  EXPECT_EQ(host(kBegin + 70s).state, State::half_open);
  EXPECT_EQ(host(kBegin + 1h).state, State::half_open);
  EXPECT_EQ(host(kBegin + 1h).failure.cause, Cause::unreachable);
  EXPECT_FALSE(health.enter(kNode, "r", "r/a", kBegin + 1h)) << "the next caller probes, as before";
  fail(kNode, "r/a", kRefusal, kBegin + 1h);
  EXPECT_EQ(host(kBegin + 1h).state, State::open);
  EXPECT_EQ(host(kBegin + 1h).since, kBegin);
}

TEST_F(RegistryHealthTest, ANamespaceThatDoesNotAskAnyMoreIsNotListed) {
  fail(kEvil, "r/a");
  EXPECT_EQ(host(kBegin + 69s).namespaces, std::vector<std::string>{"evil"});
  EXPECT_TRUE(host(kBegin + 1h).namespaces.empty());
  EXPECT_FALSE(health.enter(kEvil, "r", "r/a", kBegin + 1h));
  EXPECT_EQ(host(kBegin + 1h).namespaces, std::vector<std::string>{"evil"})
      << "it is listed until it has its answer";
}

TEST_F(RegistryHealthTest, WhatTwoNamespacesFindShowsThoughTheNodeDoesNotAsk) {
  fail(kNode, "r/a");
  fail(kEvil, "r/a", kRefusal, kBegin + 1h);
  EXPECT_EQ(host(kBegin + 1h).state, State::half_open);
  fail(kShop, "r/a", kRefusal, kBegin + 1h);
  EXPECT_EQ(host(kBegin + 1h).state, State::open);
  EXPECT_EQ(host(kBegin + 1h).namespaces, (std::vector<std::string>{"evil", "shop"}));
}

TEST_F(RegistryHealthTest, ANamespaceClosesNoCircuitOfTheNode) {
  fail(kNode, "r/a");
  EXPECT_FALSE(health.enter(kEvil, "r", "r/evil", kBegin + 10s)) << "it may probe";
  EXPECT_FALSE(health.succeeded(kEvil, "r", "r/evil", kBegin + 10s));
  EXPECT_EQ(host(kBegin + 10s).state, State::open);
  EXPECT_FALSE(health.enter(kNode, "r", "r/b", kBegin + 10s)) << "it must not take the node's turn to probe";
  EXPECT_TRUE(health.succeeded(kNode, "r", "r/b", kBegin + 10s));
}

TEST_F(RegistryHealthTest, AnAnswerTakesTheAccusationBack) {
  fail(kEvil, "r/a");
  fail(kEvil, "r/b", kNoSuchImage, kBegin + 1s);
  fail(kShop, "r/a", kRefusal, kBegin + 2s);
  EXPECT_FALSE(known(kNode, kBegin + 2s)) << "only one of the two accusations is left";
}

TEST_F(RegistryHealthTest, TheFailureOfOneImageIsNotThatOfAnotherScope) {
  fail(kNode, "r/a", kNoSuchImage);
  EXPECT_FALSE(health.known(kShop, "r", "r/a", kBegin)) << "probed with different credentials";
  EXPECT_TRUE(health.known(kNode, "r", "r/a", kBegin));
}

TEST_F(RegistryHealthTest, ManyHostsOfANamespaceForgetNothingOfTheNode) {
  fail(kNode, "r/a");
  fail(kShop, "r/a");
  for (int i = 0; i < 5000; ++i)
    health.failed(kEvil, "h" + std::to_string(i), "a", kRefusal, kBegin + 1s, 10s);
  EXPECT_TRUE(known(kNode));
  EXPECT_TRUE(known(kShop));
  EXPECT_LE(health.hosts(kBegin + 1s).size(), 65U);
}

TEST_F(RegistryHealthTest, ANamespacesAccusationsAreLimited) {
  fail(kEvil, "r/a");
  for (int i = 0; i < 64; ++i) health.failed(kEvil, "h" + std::to_string(i), "a", kRefusal, kBegin + 1s, 10s);
  fail(kShop, "r/a", kRefusal, kBegin + 2s);
  EXPECT_FALSE(known(kNode, kBegin + 2s)) << "only one of the two accusations is kept";
}

/// Namespaces come and go during the node's life.
TEST_F(RegistryHealthTest, NamespacesAreLimitedAndTheFirstIsForgotten) {
  for (std::size_t i = 0; i <= RegistryHealth::kMaxNamespaces; ++i)
    fail("preview-" + std::to_string(i), "r/a", kRefusal, kBegin + i * 1us);
  const auto named = host().namespaces;
  EXPECT_EQ(named.size(), RegistryHealth::kMaxNamespaces);
  EXPECT_EQ(std::count(named.begin(), named.end(), "preview-0"), 0);
  EXPECT_EQ(std::count(named.begin(), named.end(), "preview-1"), 1);
}

TEST_F(RegistryHealthTest, WhatWasAbandonedIsStillDue) {
  fail(kEvil, "r/a");
  EXPECT_FALSE(health.enter(kEvil, "r", "r/a", kBegin + 10s));
  health.abandoned(kEvil, "r", "r/a");
  EXPECT_FALSE(health.enter(kEvil, "r", "r/b", kBegin + 10s));
}

}  // namespace
}  // namespace fallbackd::watcher
