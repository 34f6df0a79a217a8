// SPDX-License-Identifier: Apache-2.0
// The prober and its unsticker end stalled pulls, with a containerd whose connections the test creates.
#include "watcher/unsticker.hpp"

#include "fake_runtime.hpp"
#include "fake_traffic.hpp"
#include "watcher/node_images.hpp"
#include "watcher/prober.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include <gmock/gmock.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using test::Gate;
using test::runUntil;
using testing::IsEmpty;

/// A mirror of the node that offers every image.
struct NodeMirror final : NodeImages {
  cri::Awaitable<bool> offers(ImageReference) override { co_return true; }
  [[nodiscard]] bool servedSince(const std::string&, Stamp) const override { return byNode; }
  bool byNode = false;
};

/// A containerd that connects to an image's hosts one after the other; all of them accept and stay silent.
/// When a connection is ended, its pull goes on to the next host, and fails after the last one.
struct UnstickerTest : testing::Test {
  struct Connection {
    std::uint64_t cookie = 0;
    std::string peer;
    Stamp made;
    std::string image;     // the pull that it belongs to; empty: none of ours
    std::size_t host = 0;  // index into hosts
  };

  UnstickerTest() {
    traffic.onReceived = [this] { return received(); };
    traffic.ends = [this](const sys::TcpConnection& one) { return end(one.cookie); };
    prober.unsticker().onUnstuck([this](const Unstuck& one) { told.push_back(one); });
  }
  /// Creates a connection that does not belong to our pulls.
  std::uint64_t connect(const std::string& peer) {
    connections.push_back({++lastCookie, peer, clock.now(), {}, 0});
    return lastCookie;
  }
  [[nodiscard]] bool isOpen(std::uint64_t cookie) const {
    return std::any_of(connections.begin(), connections.end(),
                       [&](const auto& one) { return one.cookie == cookie; });
  }
  /// Starts a probe; returns when its pull has begun.
  void ask(const std::string& image, Scope scope = {}) {
    const auto before = prober.pullsSent();
    Question question{*ImageReference::parse(image), {}, 1s, std::move(scope), "shop"};
    question.responseTimeout = 3s;
    gates[image] = std::make_unique<Gate>(loop);
    runtime.gateOf[image] = gates[image].get();
    boost::asio::co_spawn(loop, prober.probe(question), [this](std::exception_ptr error, Verdict verdict) {
      if (error) std::rethrow_exception(error);
      verdicts.push_back(std::move(verdict));
    });
    ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() > before; }));
  }

  [[nodiscard]] std::vector<UnstickResult> resultsOf(const std::string& peer) const {
    std::vector<UnstickResult> results;
    for (const auto& one : told) {
      if (one.peer == peer) results.push_back(one.result);
    }
    return results;
  }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  test::FakeTraffic traffic;
  std::vector<std::string> hosts{"192.0.2.1:443"};
  std::map<std::string, std::unique_ptr<Gate>> gates;
  std::vector<Connection> connections;
  std::uint64_t lastCookie = 0;
  std::map<std::string, int> pullsSeen;
  NodeMirror node;  // outlives prober, which a test may give it to
  Prober prober{loop.get_executor(), runtime, traffic, 3, 10s, [](const std::string&, const Scope&) {}};
  std::vector<Verdict> verdicts;
  std::vector<Unstuck> told;

 private:
  sys::TcpConnections received() {
    for (const auto& [image, pulls] : runtime.pulls) {
      if (pulls == pullsSeen[image]) continue;
      // A new pull: the previous pull was cancelled.
      std::erase_if(connections, [&](const auto& one) { return one.image == image; });
      pullsSeen[image] = pulls;
      if (!hosts.empty()) connections.push_back({++lastCookie, hosts.front(), clock.now(), image, 0});
    }
    sys::TcpConnections all;
    for (const auto& one : connections) {
      sys::TcpConnection socket;
      socket.acknowledged = 300;
      socket.bytes = 100;
      socket.sinceSent = socket.sinceReceived =
          std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - one.made);
      socket.peer = one.peer;
      socket.cookie = one.cookie;
      all[one.cookie] = socket;
    }
    return all;
  }
  bool end(std::uint64_t cookie) {
    const auto found = std::find_if(connections.begin(), connections.end(),
                                    [&](const auto& one) { return one.cookie == cookie; });
    if (found == connections.end()) return false;
    const auto ended = *found;
    connections.erase(found);
    if (ended.image.empty()) return true;
    if (ended.host + 1 < hosts.size()) {
      connections.push_back(
          {++lastCookie, hosts.at(ended.host + 1), clock.now(), ended.image, ended.host + 1});
    } else if (gates.contains(ended.image)) {
      gates.at(ended.image)->open();
    }
    return true;
  }
};

TEST_F(UnstickerTest, KubeletsPullFailsWithTheVerdictAndOnlyItsConnectionIsEnded) {
  ask("r.x/a:1");
  const auto kubelets = connect("192.0.2.1:443");
  const auto healthy = connect("192.0.2.7:443");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  clock.advance(loop, 500ms);
  EXPECT_FALSE(isOpen(kubelets)) << "its peer was silent for " << 3500 << " ms";
  clock.advance(loop, 10s);
  EXPECT_TRUE(isOpen(healthy));
  for (const auto& one : told) EXPECT_EQ(one.peer, "192.0.2.1:443");
  EXPECT_GE(prober.unsticker().counts()[static_cast<std::size_t>(UnstickResult::ended)], 1U);
}

TEST_F(UnstickerTest, EachMirrorIsFoundAndCostsOneTimeout) {
  hosts = {"192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"};
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  // kubelet's pull goes on to the next mirror whenever its connection ends.
  for (const auto& host : hosts) {
    const auto kubelets = connect(host);
    clock.advance(loop, 3500ms);
    EXPECT_FALSE(isOpen(kubelets)) << host;
  }
}

TEST_F(UnstickerTest, AMirrorThatOurPullPassedIsStillDeadForKubelets) {
  runtime.outcomeOf["r.x/a:1"] = {cri::PullOutcome::Kind::pulled, 0, ""};  // from the next host
  ask("r.x/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 2500ms);
  EXPECT_TRUE(runtime.images.contains("r.x/a:1"));
  EXPECT_TRUE(isOpen(kubelets));
  clock.advance(loop, 1s);
  EXPECT_FALSE(isOpen(kubelets));
}

/// The mirror of the node answers where the registry does not.
TEST_F(UnstickerTest, WhatTheNodeAnswersToAFurtherPullSaysNothingAboutTheRegistry) {
  prober.tellApart(node);
  for (const bool byNode : {true, false}) {
    node.byNode = byNode;
    hosts = {byNode ? "192.0.2.1:443" : "192.0.2.2:443"};
    const std::string image = byNode ? "r.x/a:1" : "r.y/a:1";
    runtime.outcomeOf[image] = {cri::PullOutcome::Kind::pulled, 0, ""};  // from the next host
    verdicts.clear();
    ask(image);
    ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
    ASSERT_EQ(verdicts[0].cause, Cause::timeout);
    clock.advance(loop, 2500ms);
    ASSERT_TRUE(runtime.images.contains(image)) << "the second pull has ended";
    EXPECT_EQ(prober.recentFailure(*ImageReference::parse(image)).has_value(), byNode);
  }
}

/// A pull from a different registry begins slowly while the dead registry is probed.
TEST_F(UnstickerTest, ASilentConnectionToAnAddressThatOurPullDoesNotUseIsNotTouched) {
  ask("r.x/a:1");
  const auto slow = connect("192.0.2.7:443");
  clock.advance(loop, 20s);
  ASSERT_FALSE(verdicts.empty());
  EXPECT_TRUE(isOpen(slow));
}

TEST_F(UnstickerTest, WithoutAConnectionNothingIsEnded) {
  hosts.clear();  // the registry's name does not resolve
  ask("r.x/a:1");
  const auto slow = connect("192.0.2.7:443");
  clock.advance(loop, 20s);
  ASSERT_FALSE(verdicts.empty());
  EXPECT_TRUE(isOpen(slow));
  EXPECT_THAT(told, IsEmpty());
}

TEST_F(UnstickerTest, TheVerdictOfAnAnnotatedImageEndsNothing) {
  ask("r.x/a:1", "evil");
  const auto others = connect("192.0.2.1:443");
  clock.advance(loop, 20s);
  ASSERT_FALSE(verdicts.empty());
  EXPECT_TRUE(isOpen(others));
  EXPECT_THAT(told, IsEmpty());
}

TEST_F(UnstickerTest, AProxyIsLeftAloneAndReportedOnceForEachConnection) {
  traffic.proxyAddresses = {"proxy.corp:443"};
  ask("192.0.2.1:443/a:1");
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 5s);
  EXPECT_TRUE(isOpen(kubelets));
  const auto ofKubelet = std::count_if(told.begin(), told.end(), [](const auto& one) {
    return one.result == UnstickResult::proxy && one.peer == "192.0.2.1:443";
  });
  EXPECT_GE(ofKubelet, 1);
  EXPECT_LE(ofKubelet, 3) << "one for each connection";
  EXPECT_EQ(prober.unsticker().counts()[static_cast<std::size_t>(UnstickResult::ended)], 0U);
}

TEST_F(UnstickerTest, WithoutTheOptionNothingIsEnded) {
  prober.unsticker().enable(false);
  ask("192.0.2.1:443/a:1");
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 20s);
  EXPECT_TRUE(isOpen(kubelets));
  EXPECT_EQ(prober.unsticker().state(), Unsticker::State::off);
  EXPECT_EQ(prober.lingering(), 1U) << "as without the unsticker";
}

TEST_F(UnstickerTest, AMissingPrivilegeShowsInTheState) {
  traffic.ends = nullptr;
  traffic.cannotEnd = Reason::not_permitted;
  ask("192.0.2.1:443/a:1");
  clock.advance(loop, 20s);
  ASSERT_FALSE(verdicts.empty());
  EXPECT_EQ(prober.unsticker().state(), Unsticker::State::not_permitted);
  EXPECT_EQ(toString(prober.unsticker().state()), "not permitted");
  EXPECT_THAT(told, IsEmpty());
}

TEST_F(UnstickerTest, AKernelThatCannotEndConnectionsLeavesEverythingAsItWas) {
  traffic.ends = nullptr;
  traffic.cannotEnd = Reason::unavailable;
  ask("192.0.2.1:443/a:1");
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 20s);
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  EXPECT_TRUE(isOpen(kubelets));
  EXPECT_EQ(prober.unsticker().state(), Unsticker::State::not_supported);
  EXPECT_EQ(toString(prober.unsticker().state()), "not supported");
  EXPECT_THAT(told, IsEmpty()) << "it must not try to end any connection";
  EXPECT_EQ(prober.lingering(), 1U) << "as without the unsticker";
}

/// Kernels before 6.x refuse to end a connection in TIME_WAIT.
TEST_F(UnstickerTest, OneConnectionThatTheKernelCannotEndIsNotTheKernel) {
  ask("192.0.2.1:443/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  clock.advance(loop, 1s);
  told.clear();
  traffic.refusal = Reason::unavailable;
  const auto closed = connect("192.0.2.1:443");
  traffic.onRefused = [&] {
    std::erase_if(connections, [&](const auto& one) { return one.cookie == closed; });
  };
  clock.advance(loop, 3500ms);
  ASSERT_FALSE(isOpen(closed));
  EXPECT_EQ(prober.unsticker().state(), Unsticker::State::ready);
  EXPECT_EQ(resultsOf("192.0.2.1:443"), std::vector{UnstickResult::gone});
  traffic.refusal.reset();
  const auto next = connect("192.0.2.1:443");
  clock.advance(loop, 3500ms);
  EXPECT_FALSE(isOpen(next));
}

TEST_F(UnstickerTest, AConnectionThatStaysIsRetriedAndReportedOnce) {
  ask("192.0.2.1:443/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  clock.advance(loop, 1s);
  told.clear();
  traffic.refusal = Reason::unavailable;
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 5s);
  ASSERT_TRUE(isOpen(kubelets));
  EXPECT_EQ(resultsOf("192.0.2.1:443"), std::vector{UnstickResult::failed});
  traffic.refusal.reset();
  clock.advance(loop, 500ms);
  EXPECT_FALSE(isOpen(kubelets));
  EXPECT_EQ(resultsOf("192.0.2.1:443"), (std::vector{UnstickResult::failed, UnstickResult::ended}));
}

TEST_F(UnstickerTest, AProxyIsLookedForAgainWhereTheEnvironmentCouldNotBeRead) {
  ask("192.0.2.1:443/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  clock.advance(loop, 1s);
  told.clear();
  traffic.hidesProxies = true;
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 4s);
  ASSERT_TRUE(isOpen(kubelets));
  EXPECT_EQ(resultsOf("192.0.2.1:443"), std::vector{UnstickResult::failed});
  traffic.hidesProxies = false;
  clock.advance(loop, 500ms);
  EXPECT_FALSE(isOpen(kubelets));
}

TEST_F(UnstickerTest, AnAnswerEndsIt) {
  ask("192.0.2.1:443/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  clock.advance(loop, 1s);
  ASSERT_TRUE(prober.unsticker().knows("192.0.2.1:443"));
  prober.unsticker().answered("192.0.2.1:443");
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 9s);
  EXPECT_TRUE(isOpen(kubelets));
}

TEST_F(UnstickerTest, AnOldVerdictEndsNothing) {
  ask("192.0.2.1:443/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  clock.advance(loop, 40s);
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 40s);
  EXPECT_TRUE(isOpen(kubelets));
}

/// Slow is not dead: our own next probe pull is left alone, and its answer clears the verdict.
TEST_F(UnstickerTest, OurNextPullIsGivenTimeWhileKubeletsIsEnded) {
  ask("192.0.2.1:443/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  clock.advance(loop, 13s);  // until it may be probed again
  ask("192.0.2.1:443/a:1");
  clock.advance(loop, 1s);
  const auto own = lastCookie;
  const auto kubelets = connect("192.0.2.1:443");
  clock.advance(loop, 10s);
  ASSERT_EQ(verdicts.size(), 2U);
  EXPECT_FALSE(isOpen(kubelets));
  EXPECT_TRUE(isOpen(own));
  EXPECT_EQ(prober.lingering(), 1U);
  runtime.outcomeOf["192.0.2.1:443/a:1"] = {cri::PullOutcome::Kind::pulled, 0, ""};
  gates.at("192.0.2.1:443/a:1")->open();
  ASSERT_TRUE(runUntil(loop, [&] { return prober.lingering() == 0; }));
  EXPECT_FALSE(prober.unsticker().knows("192.0.2.1:443")) << "the registry answered";
}

}  // namespace
}  // namespace fallbackd::watcher
