// SPDX-License-Identifier: Apache-2.0
#include "watcher/prober.hpp"

#include "base/task_group.hpp"
#include "fake_runtime.hpp"
#include "fake_traffic.hpp"
#include "temp_folder.hpp"

#include <algorithm>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using test::Gate;
using test::runUntil;

struct ProberTest : testing::Test {
  void ask(const std::string& reference, std::chrono::nanoseconds stallTimeout = 1h) {
    ask(reference, {}, "shop", stallTimeout);
  }
  /// Probes an image that only an annotation of a pod in the namespace names.
  void askChosen(const std::string& reference, const std::string& podNamespace) {
    ask(reference, podNamespace, podNamespace, 1h);
  }
  void ask(const std::string& reference, Scope scope, const std::string& podNamespace,
           std::chrono::nanoseconds stallTimeout) {
    const Question question{*ImageReference::parse(reference), credentialsFile, stallTimeout,
                            std::move(scope), podNamespace};
    boost::asio::co_spawn(loop, prober.probe(question), [this](std::exception_ptr error, Verdict verdict) {
      if (error) std::rethrow_exception(error);
      verdicts.push_back(std::move(verdict));
    });
  }
  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  test::FakeTraffic traffic;
  std::string credentialsFile;
  std::vector<std::string> reopened;
  Prober prober{
      loop.get_executor(), runtime, traffic, 3, 1h, [this](const std::string& host, const Scope& scope) {
        reopened.push_back(host + " " + scope.value_or("node"));
      }};
  std::vector<Verdict> verdicts;
};

TEST_F(ProberTest, SaysWhyAPullFailed) {
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::failed);
  EXPECT_EQ(verdicts[0].cause, Cause::unreachable);
}

TEST_F(ProberTest, AHundredPodsOfOneImageShareOnePull) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  for (int i = 0; i < 100; ++i) ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.pulls["r.x/a:1"] == 1; }));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 100; }));
  EXPECT_EQ(prober.pullsSent(), 1U);
}

TEST_F(ProberTest, OnlyOneWaiterReportsThePull) {
  for (int i = 0; i < 5; ++i) ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 5; }));
  EXPECT_EQ(std::count_if(verdicts.begin(), verdicts.end(), [](const auto& one) { return one.fresh; }), 1);
}

TEST_F(ProberTest, SendsNoMoreThanItsLimitAtOnceAndTwoPerHost) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  for (const auto* image : {"one.x/a:1", "one.x/b:1", "one.x/c:1", "two.x/a:1", "three.x/a:1"}) ask(image);
  ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() == 3; }));
  loop.restart();
  loop.poll();
  EXPECT_EQ(prober.pullsSent(), 3U);
  EXPECT_FALSE(runtime.pulls.contains("one.x/c:1"));
  EXPECT_TRUE(runtime.pulls.contains("two.x/a:1"));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 5; }));
  EXPECT_EQ(prober.pullsSent(), 5U);
}

TEST_F(ProberTest, AHundredImagesOfADeadRegistryCostAHandfulOfPulls) {
  for (int i = 0; i < 100; ++i) ask("dead.x/image" + std::to_string(i) + ":1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 100; }));
  EXPECT_LE(prober.pullsSent(), 2U);
  EXPECT_TRUE(std::all_of(verdicts.begin(), verdicts.end(),
                          [](const auto& one) { return one.cause == Cause::unreachable; }));
  ASSERT_EQ(prober.registries().size(), 1U);
  EXPECT_EQ(prober.registries()[0].state, Circuits::State::open);
}

TEST_F(ProberTest, AnImageWhoseLayersAreOnADeadHostDoesNotSpeakForItsRegistry) {
  const auto layersOn = [](const std::string& host) {
    return cri::PullOutcome{
        cri::PullOutcome::Kind::failed, 2,
        "failed to pull and unpack image \"r.x/a:1\": failed to copy: httpReadSeeker: failed "
        "open: failed to do request: Get \"https://" +
            host + "/x\": dial tcp 192.0.2.7:443: connect: connection refused"};
  };
  runtime.pullOutcome = layersOn("store.x");
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::unreachable);
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r.x/b:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_EQ(verdicts[1].kind, Verdict::Kind::pulled);

  runtime.pullOutcome = layersOn("r.x");
  ask("r.x/c:1");
  ask("r.x/d:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 4; }));
  ask("r.x/e:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 5; }));
  EXPECT_EQ(verdicts[4].cause, Cause::unreachable) << "the registry itself is known to be unreachable";
  EXPECT_FALSE(runtime.pulls.contains("r.x/e:1"));
}

TEST_F(ProberTest, CredentialsTravelAlongAndUnreadableOnesAreReported) {
  const test::TempFolder folder;
  credentialsFile = folder.write("auth.json", R"({"auths": {"one.x": {"username": "u", "password": "p"}}})");
  ask("one.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  ASSERT_TRUE(runtime.lastCredentials);
  EXPECT_EQ(runtime.lastCredentials->password, "p");
  EXPECT_TRUE(verdicts[0].withCredentials);

  credentialsFile = folder.path() + "/missing.json";
  ask("two.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_FALSE(runtime.lastCredentials);
  EXPECT_EQ(verdicts[1].cause, Cause::unreachable) << "an outage counts even without a password";
  EXPECT_NE(verdicts[1].trouble.find("missing.json"), std::string::npos);
}

TEST_F(ProberTest, AFloodOfOneNamespaceDelaysNoOther) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  prober.reconfigure(8, 1h);
  for (int i = 0; i < 1500; ++i) askChosen("silent" + std::to_string(i) + ".x/a:1", "evil");
  ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() == 2; })) << "half of the unreserved places";
  loop.restart();
  loop.poll();
  EXPECT_EQ(prober.pullsSent(), 2U);
  askChosen("honest.x/a:1", "honest");
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() == 4; }));
  EXPECT_TRUE(runtime.pulls.contains("honest.x/a:1"));
  EXPECT_TRUE(runtime.pulls.contains("r.x/a:1"));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1502; }));
}

TEST_F(ProberTest, TheSameImageIsAskedForByEachNamespaceForItself) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  for (int i = 0; i < 9; ++i) askChosen("r.x/a" + std::to_string(i) + ":1", "evil");
  ask("r.x/a8:1");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.pulls["r.x/a8:1"] == 1; }))
      << "it must not wait behind them";
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 10; }));
}

TEST_F(ProberTest, APullOfOneNamespaceGivesWayToAnothersWhenItsTurnIsOver) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  askChosen("r.x/a:1", "evil");
  ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() == 1; }));
  askChosen("s.x/b:1", "shop");
  clock.advance(loop, 20s);
  EXPECT_EQ(prober.pullsSent(), 1U);
  EXPECT_TRUE(verdicts.empty());
  clock.advance(loop, 20s);
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].moves);
  EXPECT_EQ(prober.pullsSent(), 2U);
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
}

TEST_F(ProberTest, PullsThatNobodyWaitsForAnyMoreAreNotBegun) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  TaskGroup pods(loop.get_executor());
  const auto asks = [](Prober& of, Question question) -> cri::Awaitable<void> {
    const auto verdict = co_await of.probe(std::move(question));
    static_cast<void>(verdict);
  };
  for (int i = 0; i < 1000; ++i) {
    const Question question{
        *ImageReference::parse("silent" + std::to_string(i) + ".x/a:1"), {}, 1h, "evil", "evil"};
    pods.spawn(asks(prober, question));
  }
  ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() == 1 && prober.queued() == 999; }));
  ask("silent500.x/a:1", "evil", "evil", 1h);
  loop.restart();
  loop.poll();
  pods.cancelAll();
  ASSERT_TRUE(runUntil(loop, [&] { return pods.empty() && prober.queued() == 1; })) << prober.queued();
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(prober.pullsSent(), 2U);
  EXPECT_TRUE(runtime.pulls.contains("silent500.x/a:1"));
  ask("silent501.x/a:1", "evil", "evil", 1h);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_EQ(verdicts[1].kind, Verdict::Kind::failed) << "the image may still be probed";
}

TEST_F(ProberTest, AVerdictOfANamespaceCountsForItAlone) {
  askChosen("r.x/evil:1", "evil");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  askChosen("r.x/other:1", "evil");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_EQ(prober.pullsSent(), 1U) << "its own circuit is open";
  EXPECT_EQ(prober.registries().at(0).state, Circuits::State::closed);
  EXPECT_EQ(prober.registries().at(0).namespaces, std::vector<std::string>{"evil"});
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r.x/a:1");
  askChosen("r.x/b:1", "honest");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 4; }));
  EXPECT_EQ(verdicts[2].kind, Verdict::Kind::pulled);
  EXPECT_EQ(verdicts[3].kind, Verdict::Kind::pulled);
}

TEST_F(ProberTest, ALongAnswerIsCut) {
  runtime.pullOutcome.text.insert(0, "failed to pull image \"" + std::string(50'000, 'x') + "\": ");
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::unreachable);
  EXPECT_LE(verdicts[0].text.size(), 1024U);
}

TEST_F(ProberTest, SilenceIsATimeout) {
  Gate never(loop);
  runtime.pullGate = &never;
  ask("r.x/a:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
}

TEST_F(ProberTest, APullThatOutlivesItsVerdictMayStillTellThatTheRegistryIsWell) {
  Gate late(loop);
  runtime.pullGate = &late;
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r.x/a:1", 5ms);
  ask("r.x/b:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_EQ(prober.registries().at(0).state, Circuits::State::open);
  EXPECT_EQ(prober.lingering(), 2U);
  late.open();
  ASSERT_TRUE(runUntil(loop, [&] { return prober.lingering() == 0; }));
  EXPECT_EQ(prober.registries().at(0).state, Circuits::State::closed);
  EXPECT_EQ(reopened, std::vector<std::string>{"r.x node"});
  EXPECT_EQ(prober.pullsSent(), 2U);
}

TEST_F(ProberTest, NoMoreThanAFewPullsOutliveTheirVerdictAndNotForEver) {
  Gate never(loop);
  runtime.pullGate = &never;
  prober.reconfigure(16, 1h);
  prober.lingerFor(300ms, 1h);
  for (int i = 0; i < 8; ++i) ask("silent" + std::to_string(i) + ".x/a:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 8; }));
  EXPECT_EQ(prober.lingering(), 4U);
  ASSERT_TRUE(runUntil(loop, [&] { return prober.lingering() == 0; }));
}

TEST_F(ProberTest, AStalledPullOfAnAnnotatedImageEndsWithItsVerdict) {
  Gate never(loop);
  runtime.pullGate = &never;
  ask("r.x/a:1", "evil", "evil", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  EXPECT_EQ(prober.lingering(), 0U);
}

TEST_F(ProberTest, ANewPullThatSucceedsEndsTheOneThatLingers) {
  Gate never(loop);
  runtime.pullGate = &never;
  prober.reconfigure(3, 1ms);
  ask("r.x/a:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(prober.lingering(), 1U);
  runtime.pullGate = nullptr;
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  while (verdicts.back().kind != Verdict::Kind::pulled) {
    clock.advance(loop, 1ms);  // until it may be probed again
    ask("r.x/a:1", 1h);
    const auto answers = verdicts.size();
    ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() > answers; }));
    ASSERT_LT(verdicts.size(), 1000U);
  }
  EXPECT_EQ(prober.lingering(), 0U);
}

/// A registry that answers slowly gets a longer limit afterwards.
TEST_F(ProberTest, WhatIsUsualForARegistryRaisesItsLimit) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  const auto begun = clock.now();
  bool answered = false;
  traffic.onReceived = [&]() -> sys::TcpConnections {
    if (runtime.pulls.empty()) return {};
    sys::TcpConnection one;
    one.acknowledged = 300;
    one.sinceSent = std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - begun);
    if (one.sinceSent > 150ms) {
      one.bytes = 500;
      answered = true;
    }
    return {{7, one}};
  };
  ask("r.x/a:1", 400ms);
  ASSERT_TRUE(runUntil(loop, [&] { return answered && runtime.ingestLooks >= 4; }));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  ASSERT_EQ(verdicts[0].kind, Verdict::Kind::pulled);

  Gate never(loop);
  runtime.pullGate = &never;
  traffic.onReceived = nullptr;
  ask("r.x/b:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_GE(verdicts[1].ended - verdicts[1].started, 200ms) << verdicts[1].text;
}

TEST_F(ProberTest, ASlowPullThatMovesIsLeftAlone) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  runtime.contents["r.x"] = {{"sha256:m", "library/a,a", {"sha256:1"}}};
  std::int64_t offset = 0;
  runtime.onIngests = [&] {
    if (runtime.ingestLooks == 20) gate.open();
    return std::vector<cri::Ingest>{{"layer-sha256:1", ++offset, 1000}};
  };
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r.x/a:1", 1ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::pulled);
  EXPECT_GE(runtime.ingestLooks, 20);
}

TEST_F(ProberTest, WhatDeliversIsNotDeadForTheOthersUntilItsPullEnds) {
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  ASSERT_EQ(prober.registries().at(0).state, Circuits::State::open);
  clock.advance(loop, 2h);

  Gate gate(loop);
  runtime.gateOf["r.x/a:1"] = &gate;
  runtime.contents["r.x"] = {{"sha256:m", "a", {"sha256:1"}}};
  std::int64_t offset = 0;
  runtime.onIngests = [&] { return std::vector<cri::Ingest>{{"layer-sha256:1", ++offset, 1000}}; };
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r.x/a:1", 1ms);
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.ingestLooks >= 4; }));
  EXPECT_EQ(prober.registries().at(0).state, Circuits::State::closed);
  EXPECT_EQ(reopened, std::vector<std::string>{"r.x node"});
  ask("r.x/b:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 2; }));
  EXPECT_EQ(verdicts[1].kind, Verdict::Kind::pulled);
  EXPECT_FALSE(verdicts[1].remembered);
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 3; }));
}

TEST_F(ProberTest, ARegistrysWordsAreCutBetweenCharacters) {
  std::string words = "x";
  for (std::size_t i = 0; i < Verdict::kMaxText; ++i) words += "\u20ac";
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2, words};
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].text.size(), Verdict::kMaxText);
  EXPECT_EQ(verdicts[0].text, words.substr(0, Verdict::kMaxText)) << "1 and 341 times 3 bytes";
}

TEST_F(ProberTest, ADownloadThatStopsMovingIsATimeout) {
  Gate never(loop);
  runtime.pullGate = &never;
  runtime.contents["r.x"] = {{"sha256:m", "a", {"sha256:1"}}};
  runtime.onIngests = [&] {
    return std::vector<cri::Ingest>{{"layer-sha256:1", std::min(runtime.ingestLooks, 8), 1000}};
  };
  ask("r.x/a:1", 1ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  EXPECT_GT(runtime.ingestLooks, 8);
}

/// One of our layers is under way, and containerd has not written any of it yet.
struct UnderWayTest : ProberTest {
  UnderWayTest() {
    runtime.pullGate = &gate;
    runtime.contents["r.x"] = {{"sha256:m", "a", {"sha256:1"}}};
    runtime.onIngests = [this] {
      if (runtime.ingestLooks == 50) gate.open();
      return std::vector<cri::Ingest>{{"layer-sha256:1", written, 1000}};
    };
    runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  }
  Gate gate{loop};
  std::int64_t written = 0;
  int looks = 0;
};

TEST_F(UnderWayTest, WhatArrivesInDropsIsLeftAlone) {
  traffic.onReceived = [&] {
    return looks++ == 0 ? sys::TcpConnections{} : sys::TcpConnections{{7, {50U * looks, 0}}};
  };
  ask("r.x/a:1", 4ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::pulled);
}

TEST_F(UnderWayTest, WhatWaitsToBeReadHasArrived) {
  traffic.onReceived = [&] {
    return looks++ == 0 ? sys::TcpConnections{} : sys::TcpConnections{{7, {500, 1}}};
  };
  ask("r.x/a:1", 4ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::pulled);
}

TEST_F(UnderWayTest, SyncingToTheDiskIsNotTheRegistrysFault) {
  traffic.onReceived = [&] {
    return looks++ == 0 ? sys::TcpConnections{} : sys::TcpConnections{{7, {1000, 0}}};
  };
  written = 1000;
  ask("r.x/a:1", 4ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::pulled);
}

TEST_F(UnderWayTest, WhereNothingArrivesTheStallTimeoutCounts) {
  traffic.onReceived = [&] {
    return looks++ == 0 ? sys::TcpConnections{} : sys::TcpConnections{{7, {500, 0}}};
  };
  ask("r.x/a:1", 4ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  EXPECT_NE(verdicts[0].text.find("for 4ms"), std::string::npos) << verdicts[0].text;
}

TEST_F(UnderWayTest, ConnectionsFromBeforeThePullDoNotHideThatItStands) {
  traffic.onReceived = [&] { return sys::TcpConnections{{7, {50U * ++looks, 0}}}; };
  ask("r.x/a:1", 4ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
}

TEST_F(ProberTest, OtherPullsThatMoveDoNotHideOneThatStands) {
  Gate never(loop);
  runtime.pullGate = &never;
  runtime.contents["r.x"] = {{"sha256:other", "b", {"sha256:2"}}};
  std::int64_t offset = 0;
  runtime.onIngests = [&] { return std::vector<cri::Ingest>{{"layer-sha256:2", ++offset, 1000}}; };
  ask("r.x/a:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
}

}  // namespace
}  // namespace fallbackd::watcher
