// SPDX-License-Identifier: Apache-2.0
// Owners, requested by name, and the view on disk while sources change it.
#include "kube/owner_reader.hpp"

#include "kube/keeper.hpp"
#include "source_fixture.hpp"

#include <boost/asio/co_spawn.hpp>

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using kube_test::FakeApiServer;
using kube_test::Fault;
using kube_test::podJson;
using testing::HasSubstr;

constexpr const char* kReplicaSet =
    R"({"metadata":{"uid":"rs-1","annotations":{"deployment.kubernetes.io/revision":"1"},
        "ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"checkout","uid":"d-1","controller":true}]}})";
constexpr const char* kDeployment =
    R"({"metadata":{"uid":"d-1","generation":1,"annotations":{"deployment.kubernetes.io/revision":"1"}},
        "status":{"observedGeneration":1,"conditions":[{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}})";

class OwnerReaderTest : public test_support::SourceFixture {
 protected:
  OwnerReaderTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    server.putOwner("/apis/apps/v1/namespaces/shop/replicasets/checkout-5d4f", kReplicaSet);
    server.putOwner("/apis/apps/v1/namespaces/shop/deployments/checkout", kDeployment);
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.text = authority.certificate();
    access.token.text = "secret-1";
  }

  enum class Time : std::uint8_t { stands, passes };
  RolloutView ask(Time time = Time::stands, std::chrono::nanoseconds maxAge = 0s,
                  const std::string& podUid = "uid-1") {
    std::optional<RolloutView> view;
    tasks.spawn([](OwnerReader& asked, PodPtr pod, std::chrono::nanoseconds age,
                   std::optional<RolloutView>& out) -> boost::asio::awaitable<void> {
      out = co_await asked.rollout(pod, age);
    }(reader, parsePodObject(podJson("checkout-1", podUid)).value(), maxAge, view));
    const auto done = [&] { return view.has_value() && tasks.empty(); };
    EXPECT_TRUE(time == Time::stands ? soon(done) : eventually(done));
    return view.value_or(RolloutView());
  }

  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
  OwnerReader reader{[this] { return Result<Access>(access); }};
};

TEST_F(OwnerReaderTest, AsksForTheReplicaSetAndItsDeployment) {
  EXPECT_EQ(ask().rollout, Rollout::complete);
  EXPECT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(server.connections(), 1U);
}

TEST_F(OwnerReaderTest, AServerMayCloseBehindEachAnswer) {
  server.closeBehindAnswers();
  const auto view = ask();
  EXPECT_EQ(view.rollout, Rollout::complete) << view.why;
  EXPECT_EQ(server.connections(), 2U);
}

TEST_F(OwnerReaderTest, PodsOfOneOwnerShareItsAnswers) {
  EXPECT_EQ(ask().rollout, Rollout::complete);
  EXPECT_EQ(ask(Time::stands, 10s, "uid-2").rollout, Rollout::complete);
  EXPECT_EQ(server.requests().size(), 2U) << "one request for each owner";
  EXPECT_EQ(ask().rollout, Rollout::complete);
  EXPECT_EQ(server.requests().size(), 4U)
      << "an answer from before a pod existed does not count for that pod";
  clock.advance(loop, 11s);
  EXPECT_EQ(ask(Time::stands, 10s).rollout, Rollout::complete);
  EXPECT_EQ(server.requests().size(), 6U) << "an answer expires";
}

TEST_F(OwnerReaderTest, AFailureIsNotShared) {
  server.trouble({Fault::status, 500, "", "away"});
  EXPECT_EQ(ask().rollout, Rollout::unknown);
  server.heal();
  EXPECT_EQ(ask(Time::stands, 10s).rollout, Rollout::complete);
}

TEST_F(OwnerReaderTest, AnUnavailableOwnerIsUnknownWithAReason) {
  server.trouble({Fault::status, 403, "", "forbidden"});
  const auto refused = ask();
  EXPECT_EQ(refused.rollout, Rollout::unknown);
  EXPECT_THAT(refused.why, HasSubstr("allows to get replicasets"));
  server.trouble({Fault::not_json});
  EXPECT_THAT(ask().why, HasSubstr("not an object"));
  server.heal();
  server.putOwner("/apis/apps/v1/namespaces/shop/replicasets/checkout-5d4f",
                  R"({"metadata":{"uid":"rs-2"}})");
  EXPECT_EQ(ask().rollout, Rollout::unknown) << "a different owner of the same name";
}

TEST_F(OwnerReaderTest, ANameThatLeadsElsewhereIsNotAskedFor) {
  server.putOwner("/apis/apps/v1/namespaces/shop/replicasets/checkout-5d4f",
                  R"({"metadata":{"uid":"rs-1","ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment",
                      "name":"../../bank/deployments/till","uid":"d-1","controller":true}]}})");
  const auto view = ask();
  EXPECT_EQ(view.rollout, Rollout::unknown);
  EXPECT_THAT(view.why, HasSubstr("no object can have this name"));
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(OwnerReaderTest, WaitsForHalfASecondAtMost) {
  for (const auto fault : {Fault::silent_accept, Fault::silent_answer}) {
    server.trouble({fault});
    const auto began = clock.now();
    const auto view = ask(Time::passes);
    EXPECT_EQ(view.rollout, Rollout::unknown);
    EXPECT_THAT(view.why, HasSubstr("in time"));
    EXPECT_LE(clock.now() - began, 1s);
  }
}

class KeeperTest : public test_support::SourceFixture {
 protected:
  static PodPtr pod(const std::string& uid) { return parsePodObject(podJson("pod-" + uid, uid)).value(); }
  [[nodiscard]] std::size_t saved() const {
    const auto stored = PodViewStore(file, "node-1").load();
    return stored ? stored->pods.size() : 0;
  }

  std::string file = folder.path() + "/pods.view";
  std::vector<std::string> troubles;
  Keeper keeper{loop.get_executor(), PodViewStore(file, "node-1"), pods,
                [this](const std::string& text) { troubles.push_back(text); }};
};

TEST_F(KeeperTest, SavesWhatChangedALittleLater) {
  EXPECT_EQ(keeper.load().pods.size(), 0U);
  EXPECT_TRUE(troubles.empty()) << "at the first start a missing file is not an error";
  tasks.spawn(keeper.run());
  keeper.listed(SourceKind::apiserver, {pod("1"), pod("2")});
  clock.advance(loop, 1s);
  keeper.changed(SourceKind::apiserver, pod("3"));
  EXPECT_EQ(saved(), 0U);
  clock.advance(loop, 5s);
  EXPECT_EQ(saved(), 3U);
  EXPECT_EQ(pods.size(), 3U) << "the view contains them, too";
  keeper.gone(SourceKind::apiserver, pod("1"));
  clock.advance(loop, 6s);
  EXPECT_EQ(saved(), 2U);
}

TEST_F(KeeperTest, AStatusAloneIsNotSaved) {
  tasks.spawn(keeper.run());
  keeper.listed(SourceKind::apiserver, {pod("1")});
  clock.advance(loop, 6s);
  ASSERT_EQ(saved(), 1U);
  std::filesystem::remove(file);
  keeper.changed(SourceKind::apiserver, pod("1"));
  clock.advance(loop, 1h);
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(KeeperTest, TheNextDaemonRemembers) {
  keeper.listed(SourceKind::apiserver, {pod("1"), pod("2")});
  keeper.save();
  Pods later;
  Keeper next(loop.get_executor(), PodViewStore(file, "node-1"), later, [](const std::string&) {});
  auto stored = next.load();
  later.remember(stored.pods, stored.saved);
  EXPECT_TRUE(later.find("2"));
  EXPECT_TRUE(later.rememberedSince());
  next.listed(SourceKind::apiserver, {pod("2")});
  EXPECT_FALSE(later.find("1"));
  EXPECT_FALSE(later.rememberedSince());
}

TEST_F(KeeperTest, AFailedSaveIsRetriedWithoutAChange) {
  const auto inTheWay = folder.path() + "/.pods.view.new";
  std::filesystem::create_directory(inTheWay);
  tasks.spawn(keeper.run());
  keeper.listed(SourceKind::apiserver, {pod("1")});
  clock.advance(loop, 6s);
  EXPECT_EQ(troubles.size(), 1U);
  std::filesystem::remove(inTheWay);
  clock.advance(loop, 30s);
  EXPECT_EQ(saved(), 0U) << "not at once";
  clock.advance(loop, 31s);
  clock.advance(loop, 6s);
  EXPECT_EQ(saved(), 1U);
  std::filesystem::remove(file);
  clock.advance(loop, 1h);
  EXPECT_FALSE(std::filesystem::exists(file)) << "it was saved";
}

TEST_F(KeeperTest, WhatCouldNotBeSavedIsSavedInTheEnd) {
  const auto inTheWay = folder.path() + "/.pods.view.new";
  std::filesystem::create_directory(inTheWay);
  keeper.listed(SourceKind::apiserver, {pod("1")});
  keeper.save();
  std::filesystem::remove(inTheWay);
  keeper.save();
  EXPECT_EQ(saved(), 1U);
}

TEST_F(KeeperTest, AFailureOfTheFileIsReportedOnce) {
  folder.write("pods.view", "damaged");
  EXPECT_EQ(keeper.load().pods.size(), 0U);
  EXPECT_EQ(troubles.size(), 1U);
  std::filesystem::remove_all(folder.path());
  for (const auto* uid : {"1", "2", "3"}) {
    keeper.changed(SourceKind::apiserver, pod(uid));
    keeper.save();
  }
  EXPECT_EQ(troubles.size(), 2U);
}

}  // namespace
}  // namespace fallbackd::kube
