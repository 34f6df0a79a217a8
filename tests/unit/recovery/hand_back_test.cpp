// SPDX-License-Identifier: Apache-2.0
// What ends a recovery: the real container, or a kubelet that is no longer held up.
#include "recovery_fixture.hpp"

namespace fallbackd::recovery {
namespace {

using test::runUntil;

TEST_F(RecoveryTest, TheRealContainerTakesOver) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c0", "other");
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 50ms);
  EXPECT_EQ(journalled(), 0U);
  recoveries->containerStarted("c1", clock.now());
  EXPECT_TRUE(metric(R"(fallbackd_hand_back_gap_seconds_count{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
}

TEST_F(RecoveryTest, AContainerWithAnotherImageDoesNotEndTheFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.references["sha256:tool"] = {"r/toolbox:latest", "elsewhere.example/r/checkout:1"};
  const int before = runtime.calls;
  kubeletMakes("c1", "main", "r/toolbox:latest", "sha256:tool");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before; }));
  clock.advance(loop, 1min);
  EXPECT_EQ(state(), State::ready);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
}

TEST_F(RecoveryTest, AnImageIsRecognisedByItsIdOrDigest) {
  // A rollout: the container's image has a different version than this node's configuration.
  runtime.references["sha256:new"] = {"r/checkout:2", "r/checkout@sha256:" + std::string(64, '0')};
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c1", "main", "", "sha256:new");
  ASSERT_TRUE(reaches(State::handed_back));
  runtime.references["sha256:digest"] = {"r/checkout@sha256:" + std::string(64, '0')};
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c2", "main", "", "sha256:digest");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(RecoveryTest, AnUnansweredImageQueryIsRetried) {
  runtime.references["sha256:real"] = {"r/checkout:1"};
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.deafToReferences = true;
  const int before = runtime.calls;
  kubeletMakes("c1", "main", "");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 2; }));
  EXPECT_EQ(state(), State::ready);
  runtime.deafToReferences = false;
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(RecoveryTest, AContainerCreatedBeforeTheLaunchPreventsIt) {
  runtime.sandboxes["s1"].sandbox.ready = false;  // so that the launch waits for the sandbox
  detect();
  clock.advance(loop, 5ms);
  kubeletMakes("c1", "main");
  runtime.sandboxes["s1"].sandbox.ready = true;
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(RecoveryTest, HandBackWhileNotYetReady) {
  test::Gate never(loop);
  readyGate = &never;
  detect();
  ASSERT_TRUE(reaches(State::started));
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
}

TEST_F(RecoveryTest, ARecoveryIsWithdrawnOnceKubeletIsNoLongerHeldUp) {
  cause = Cause::not_started;
  runtime.sandboxes["s1"].sandbox.ready = false;  // so that the launch waits
  detect();
  ASSERT_TRUE(reaches(State::verified));
  recoveries->noLongerHeldUp("s1", "main");
  ASSERT_TRUE(reaches(State::withdrawn));
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_EQ(journalled(), 0U);
  EXPECT_TRUE(metric("cause=\"not_started\",outcome=\"withdrawn\""));
  runtime.sandboxes["s1"].sandbox.ready = true;
  detect();
  ASSERT_TRUE(reaches(State::ready)) << "it may be held up again";
}

TEST_F(RecoveryTest, ARunningFallbackIsNotWithdrawnAndEndsWithTheContainer) {
  cause = Cause::not_started;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->noLongerHeldUp("s1", "main");
  clock.advance(loop, 1s);
  EXPECT_EQ(state(), State::ready);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(RecoveryTest, OtherCausesAreNotWithdrawn) {
  runtime.sandboxes["s1"].sandbox.ready = false;
  detect();
  ASSERT_TRUE(reaches(State::verified));
  recoveries->noLongerHeldUp("s1", "main");
  runtime.sandboxes["s1"].sandbox.ready = true;
  ASSERT_TRUE(reaches(State::ready));
}

/// Two programs that share their port.
struct SharedPort : RecoveryTest {
  SharedPort() {
    handBackOn = config::HandBackOn::start;
    readiness.when = config::ReadyWhenTcp{8080};
    services->listenersOf = [this](pid_t, std::uint16_t port) -> Result<Services::Listeners> {
      EXPECT_EQ(port, 8080);
      return Services::Listeners([this]() -> Result<std::set<std::uint64_t>> { return listeners; });
    };
  }
  bool serves() const { return state() == State::ready && !launcher.launched[0]->stoppedWithGrace; }
  /// Whether connections that wait at the fallback's socket are passed on, in a network of this mode.
  bool passesOn(cri::NamespaceMode network) {
    bool done = false;
    services->passOnWaiting = [&](pid_t) { done = true; };
    runtime.sandboxes["s1"].network = network;
    detect();
    EXPECT_TRUE(reaches(State::ready));
    kubeletMakes("c1", "main");
    clock.advance(loop, 1s);
    recoveries->containerStarted("c1", clock.now());
    listeners = {1, 2};
    EXPECT_TRUE(reaches(State::handed_back));
    return done;
  }

  std::set<std::uint64_t> listeners{1};
};

TEST_F(SharedPort, TheFallbackServesUntilTheContainerListens) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c1", "main");
  clock.advance(loop, 1s);
  EXPECT_TRUE(serves()) << "the container does not run";
  recoveries->containerStarted("c1", clock.now());
  clock.advance(loop, 1s);
  EXPECT_TRUE(serves()) << "the container does not listen";
  listeners = {1, 2};
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(SharedPort, WhatWaitsIsPassedOn) {
  EXPECT_TRUE(passesOn(cri::NamespaceMode::pod));
}

TEST_F(SharedPort, TheNodesNetworkIsLeftAsItIs) {
  EXPECT_FALSE(passesOn(cri::NamespaceMode::node));
}

TEST_F(SharedPort, AContainerThatNeverListensEndsTheFallbackAfterAWhile) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c1", "main");
  recoveries->containerStarted("c1", clock.now());
  clock.advance(loop, 29s);
  EXPECT_TRUE(serves());
  clock.advance(loop, 2s);
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(SharedPort, AStartWithoutANoticeIsFound) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  cri::Container container{"c1", "s1", "main", 0, cri::Container::State::created, "r/checkout:1", ""};
  runtime.containers.push_back(container);
  recoveries->containerCreated("uid-s1", container);
  clock.advance(loop, 5s);
  EXPECT_TRUE(serves());
  runtime.containers[0].state = cri::Container::State::running;
  listeners = {1, 2};
  clock.advance(loop, 3s);
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(SharedPort, AContainerThatKubeletRemovesChangesNothing) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c1", "main");
  clock.advance(loop, 1min);
  EXPECT_TRUE(serves()) << "the runtime no longer knows the container";
  kubeletMakes("c2", "main");
  clock.advance(loop, 1s);
  recoveries->containerStarted("c2", clock.now());
  listeners = {1, 2};
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(SharedPort, AContainerThatRanBeforeTheDaemonEndsTheFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  cri::Container container{"c1", "s1", "main", 0, cri::Container::State::running, "r/checkout:1", ""};
  recoveries->containerCreated("uid-s1", container);
  ASSERT_TRUE(reaches(State::handed_back));
}

/// The image was present from the beginning, so its arrival does not mean that the container can start.
TEST_F(RecoveryTest, AnImageDoesNotEndANotStartedRecovery) {
  cause = Cause::not_started;
  handBackOn = config::HandBackOn::image;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 1s);
  EXPECT_EQ(state(), State::ready);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
}

}  // namespace
}  // namespace fallbackd::recovery
