// SPDX-License-Identifier: Apache-2.0
// A fallback and its stand-in share their fate.
#include "caught_log.hpp"
#include "fake_pod_specs.hpp"
#include "fake_stand_ins.hpp"
#include "recovery_fixture.hpp"

#include <csignal>
#include <functional>
#include <map>

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using test::runUntil;
using testing::HasSubstr;
using Settled = Settlement::State;
using Rollout = standin::RolloutFacts;

struct SettlingTest : RecoveryTest {
  SettlingTest() {
    settle = config::Settle::always;
    services->standIns = &standIns;
    services->standInMetrics = &metrics.standIns;
    services->specs = &specs;
    services->rollout = [this](const std::string&) { return rollout; };
    services->askRollout = [this](const std::string&) { ++rolloutQuestions; };
    recoveries.emplace(*services, configured());
    specs.specs["uid-s1"] = test::specOf("registry.example/checkout:1");
  }
  ~SettlingTest() override { stop(*recoveries); }  // while the fakes below still exist
  SettlingTest(const SettlingTest&) = delete;
  SettlingTest& operator=(const SettlingTest&) = delete;
  config::ConfigPtr configured() const {
    auto config = std::make_shared<config::Config>(*makeConfig());
    config->workloads[0].settle = settle;
    config->kubernetes.sources = {config::PodSource::apiserver};
    return config;
  }
  std::optional<Settled> settled() const {
    if (recoveries->incidents().empty() || !recoveries->incidents()[0].settlement) return std::nullopt;
    return recoveries->incidents()[0].settlement->state;
  }
  std::size_t settledCount(Settled wanted) const {
    std::size_t count = 0;
    for (const auto& one : recoveries->incidents()) {
      count += one.settlement && one.settlement->state == wanted ? 1 : 0;
    }
    return count;
  }
  std::string why() const { return recoveries->incidents()[0].settlement->why; }
  bool becomes(Settled wanted) {
    return runUntil(loop, [&] { return settled() == wanted; });
  }
  void settles() {
    detect();
    ASSERT_TRUE(becomes(Settled::settled));
    ASSERT_EQ(standIns.made.size(), 1U);
  }
  /// Starts two pods of the workload with stand-ins that kubelet has adopted.
  void settlesTwo() {
    runtime.addSandbox("s2", "shop", "checkout-2");
    detect("s1");
    detect("s2");
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
    adopt();
  }
  /// Lets the time pass within which kubelet ends containers that it does not adopt.
  void adopt() { clock.advance(loop, 6s); }

  test::FakeStandIns standIns{loop};
  test::FakePodSpecs specs;
  std::optional<Rollout> rollout;
  int rolloutQuestions = 0;
};

TEST_F(SettlingTest, AReadyFallbackGetsAStandIn) {
  settles();
  const auto& request = standIns.made[0]->request;
  EXPECT_EQ(request.recoveryId, recoveries->incidents()[0].id);
  EXPECT_EQ(request.container, "main");
  EXPECT_EQ(request.image, "registry.example/checkout:1")
      << "the text of the pod's specification, for the hash";
  EXPECT_EQ(request.sandbox.sandbox.id, "s1");
  EXPECT_TRUE(metric(R"(fallbackd_active_stand_ins{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_stand_ins_total{result="started",workload="checkout"} 1)"));
}

TEST_F(SettlingTest, ItHasTheBinaryWhereTheWorkloadSays) {
  auto config = std::make_shared<config::Config>(*configured());
  config->workloads[0].standIn.path = "/app/server";
  config->workloads[0].env = {{"PORT", "8080"}};
  watcher::Detection detection;
  detection.sandbox = runtime.sandboxes["s1"].sandbox;
  detection.workload = watcher::WorkloadPtr(config, config->workloads.data());
  detection.cause = cause;
  detection.waitingSince = detection.failureKnown = clock.now();
  recoveries->detected(std::move(detection));
  ASSERT_TRUE(becomes(Settled::settled));
  const auto& request = standIns.made[0]->request;
  ASSERT_TRUE(request.executable);
  EXPECT_EQ(request.executable->path, "/app/server");
  EXPECT_EQ(request.env.at("PORT"), "8080");
}

TEST_F(SettlingTest, WithoutAPathTheStandInHasNothingOfThePod) {
  settles();
  EXPECT_FALSE(standIns.made[0]->request.executable);
  EXPECT_TRUE(standIns.made[0]->request.env.empty());
}

TEST_F(SettlingTest, AnOomKillHasItsExitCodeEvenIfTheKernelDoesNotReportIt) {
  settles();
  launcher.launched[0]->status.oomKilled = true;
  launcher.launched[0]->die(Kind::unknown, 0);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  EXPECT_TRUE(standIns.made[0]->outOfMemory);
  EXPECT_EQ(standIns.made[0]->exitCode, 128 + SIGKILL);
}

TEST_F(SettlingTest, KubeletsStopDrainsTheFallbackAndPassesOnItsExitCode) {
  auto pod = test::podOf("r/checkout:1");
  pod.terminationGracePeriodSeconds = 42;
  specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(std::move(pod));
  settles();
  adopt();
  launcher.launched[0]->status = {Kind::exited, 3};
  standIns.made[0]->send(SIGTERM);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made[0]->exitCode.has_value(); }));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 42s);
  EXPECT_EQ(standIns.made[0]->exitCode, 3);
  EXPECT_FALSE(standIns.made[0]->removed) << "kubelet reads the exit code";
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched.size(), 1U) << "it is not restarted in a pod that is being deleted";
  EXPECT_FALSE(standIns.made[0]->removed);
}

TEST_F(SettlingTest, AFailedProbeOfKubeletsRestartsBoth) {
  settles();
  adopt();
  standIns.made[0]->send(SIGTERM);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  EXPECT_EQ(launcher.launched.size(), 2U);
  EXPECT_EQ(standIns.made[1]->request.restarts, 1U);
}

/// The pod stays as long as another of its containers runs.
TEST_F(SettlingTest, WhatKubeletEndsRunsAgainOnlyIfItsPolicySaysSo) {
  using config::RestartPolicy;
  struct Case {
    RestartPolicy policy;
    int exitCode;
    std::size_t runs;
    State end;
  };
  for (const auto& one : {Case{RestartPolicy::never, 143, 1, State::failed},
                          Case{RestartPolicy::on_failure, 0, 1, State::completed},
                          Case{RestartPolicy::on_failure, 143, 2, State::ready}}) {
    const auto sandbox = "job-" + std::to_string(launcher.launched.size());
    const auto before = launcher.launched.size();
    const auto stood = standIns.made.size();
    runtime.addSandbox(sandbox, "shop", "job");
    specs.specs["uid-" + sandbox] = specs.specs["uid-s1"];
    restartPolicy = one.policy;
    detect(sandbox);
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == stood + 1; }));
    adopt();
    launcher.launched[before]->status = {Kind::exited, one.exitCode};
    standIns.made[stood]->send(SIGTERM);
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.made[stood]->exitCode.has_value(); }));
    clock.advance(loop, 1min);
    EXPECT_EQ(launcher.launched.size() - before, one.runs) << one.exitCode;
    EXPECT_EQ(state(), one.end) << one.exitCode;
  }
}

/// As for a fallback that ends by itself: otherwise a failure on a busy node would be its last run.
TEST_F(SettlingTest, WhatKubeletEndsIsJudgedByAStatusThatIsLate) {
  restartPolicy = config::RestartPolicy::on_failure;
  settles();
  adopt();
  launcher.launched[0]->status = {Kind::unknown, 0};
  launcher.launched[0]->lateStatus = launcher::ExitStatus{Kind::exited, 143};
  standIns.made[0]->send(SIGTERM);
  EXPECT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  EXPECT_EQ(launcher.launched.size(), 2U);
  EXPECT_EQ(standIns.made[0]->exitCode, 143);
}

TEST_F(SettlingTest, AFallbackThatDiesTakesItsStandInWithIt) {
  settles();
  launcher.launched[0]->die(Kind::signaled, SIGSEGV);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  EXPECT_EQ(standIns.made[0]->exitCode, 128 + SIGSEGV);
  EXPECT_EQ(standIns.made[1]->request.restarts, 1U);
  EXPECT_EQ(settled(), Settled::settled);
  EXPECT_TRUE(metric(R"(fallbackd_active_stand_ins{workload="checkout"} 1)"));
}

TEST_F(SettlingTest, AForkThatFailsDoesNotCostThePodItsNextStandIn) {
  settles();
  const auto removals = standIns.removals;
  for (int i = 0; i < 3; ++i) launcher.failures.push_back({Stage::spawner, Reason::system, EAGAIN, "clone"});
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  EXPECT_EQ(standIns.removals, removals) << "kubelet still shows the end of the previous stand-in";
  EXPECT_EQ(recoveries->incidents().size(), 1U);
}

TEST_F(SettlingTest, AFallbackKilledForMemoryIsShownAsSuch) {
  settles();
  launcher.launched[0]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  EXPECT_FALSE(standIns.made[0]->outOfMemory);
  launcher.launched[1]->status.oomKilled = true;
  launcher.launched[1]->die(Kind::signaled, SIGKILL);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 3; }));
  EXPECT_TRUE(standIns.made[1]->outOfMemory) << "reported before its end";
  EXPECT_EQ(standIns.made[1]->exitCode, 128 + SIGKILL);
}

TEST_F(SettlingTest, AnEarlyStopIsARejectionAndTheFallbackServesOn) {
  settles();
  clock.advance(loop, 1s);
  standIns.made[0]->send(SIGTERM);
  ASSERT_TRUE(becomes(Settled::rejected));
  EXPECT_EQ(standIns.made[0]->exitCode, 128 + SIGTERM);
  EXPECT_TRUE(standIns.made[0]->removed);
  EXPECT_EQ(standIns.removedFrom, standin::Fallback::serves);
  EXPECT_EQ(state(), State::ready);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  EXPECT_THAT(why(), HasSubstr("it was asked to end (signal 15) 1000 ms after its start; likely by"));
  for (const char* const part :
       {"a kubelet before 1.31", "a different hash", "a failed probe", "resizePolicy", "docs/stand-in.md"}) {
    EXPECT_THAT(why(), HasSubstr(part));
  }
  // It is made once more, and then not again.
  clock.advance(loop, 31s);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  standIns.made[1]->send(SIGTERM);
  ASSERT_TRUE(becomes(Settled::rejected));
  EXPECT_THAT(why(), HasSubstr("not made again"));
  clock.advance(loop, 10min);
  EXPECT_EQ(standIns.attempts, 2);
  EXPECT_EQ(state(), State::ready);
  EXPECT_TRUE(metric(R"(fallbackd_stand_ins_total{result="rejected",workload="checkout"} 2)"));
}

TEST_F(SettlingTest, ItMakesWayForTheRealContainerWhileTheFallbackServes) {
  settles();
  adopt();
  recoveries->imageArrived("r/other:1");
  clock.advance(loop, 1s);
  EXPECT_FALSE(standIns.made[0]->removed);
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(becomes(Settled::leaving));
  EXPECT_TRUE(standIns.made[0]->removed);
  EXPECT_EQ(standIns.removedFrom, standin::Fallback::serves);
  EXPECT_EQ(state(), State::ready);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(standIns.removals, 1);
  EXPECT_EQ(standIns.attempts, 1);
  EXPECT_TRUE(metric(R"(fallbackd_active_stand_ins{workload="checkout"} 0)"));
}

TEST_F(SettlingTest, ASuccessfulProbePullMakesWayToo) {
  settles();
  adopt();
  watcher::Verdict verdict;
  verdict.kind = watcher::Verdict::Kind::pulled;
  recoveries->probed(makeConfig()->workloads[0], verdict);
  ASSERT_TRUE(becomes(Settled::leaving));
}

TEST_F(SettlingTest, StandInsOfAWorkloadMakeWayOneAtATime) {
  specs.specs["uid-s2"] = specs.specs["uid-s1"];
  settlesTwo();
  const auto leaving = [&] { return settledCount(Settled::leaving); };
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(runUntil(loop, [&] { return leaving() == 1; }));
  clock.advance(loop, 30s);
  EXPECT_EQ(leaving(), 1U) << "the first pod's container has not come";
  const bool first = recoveries->incidents()[0].settlement->state == Settled::leaving;
  const auto gone = recoveries->incidents()[first ? 0 : 1].target;
  recoveries->containerCreated(
      gone.podUid, {"c1", gone.sandboxId, "main", 0, cri::Container::State::created, "r/checkout:1", ""});
  ASSERT_TRUE(runUntil(loop, [&] { return leaving() == 0; }));
  clock.advance(loop, 2s);
  EXPECT_EQ(leaving(), 0U) << "the first pod may not be Ready yet";
  clock.advance(loop, 2s);
  EXPECT_TRUE(runUntil(loop, [&] { return leaving() == 1; }));
}

TEST_F(SettlingTest, NamespacesDoNotWaitForEachOther) {
  runtime.addSandbox("s2", "other", "checkout-2");
  specs.specs["uid-s2"] = specs.specs["uid-s1"];
  detect("s1");
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  adopt();
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 1s);
  EXPECT_EQ(settledCount(Settled::leaving), 2U);
}

TEST_F(SettlingTest, OneWhoseContainerDoesNotComeStopsTheOthers) {
  specs.specs["uid-s2"] = specs.specs["uid-s1"];
  settlesTwo();
  runtime.images.insert("r/checkout:1");
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(runUntil(loop, [&] { return settledCount(Settled::leaving) == 1; }));
  clock.advance(loop, 5min);
  EXPECT_EQ(settledCount(Settled::settled), 1U);
  const bool first = recoveries->incidents()[0].settlement->state != Settled::settled;
  EXPECT_THAT(recoveries->incidents()[first ? 1 : 0].settlement->why, HasSubstr("made way in vain"));
  const auto late = recoveries->incidents()[first ? 0 : 1].target;
  recoveries->containerCreated(
      late.podUid, {"c1", late.sandboxId, "main", 0, cri::Container::State::created, "r/checkout:1", ""});
  clock.advance(loop, 5s);
  EXPECT_EQ(settledCount(Settled::leaving), 1U) << "the first container has come after all";
  EXPECT_EQ(settledCount(Settled::settled), 0U);
}

TEST_F(SettlingTest, WithoutAnySuccessOneMoreTriesAfterAWhile) {
  specs.specs["uid-s2"] = specs.specs["uid-s1"];
  settlesTwo();
  runtime.images.insert("r/checkout:1");
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 12min);
  EXPECT_TRUE(metric(R"(fallbackd_stand_ins_total{result="ended",workload="checkout"} 2)"));
}

TEST_F(SettlingTest, TheNextOneWaitsForWhatTheProbesOfThePodNeed) {
  auto pod = test::podOf("r/checkout:1");
  pod.containers[0].startupProbe = kube::Probe{kube::TcpSocket{std::uint16_t{80}, ""}, 5, 1, 1};
  pod.containers[0].readinessProbe = kube::Probe{kube::TcpSocket{std::uint16_t{80}, ""}, 0, 1, 10, 3, 2};
  specs.specs["uid-s1"] = specs.specs["uid-s2"] = std::make_shared<const kube::Pod>(std::move(pod));
  settlesTwo();
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(runUntil(loop, [&] { return settledCount(Settled::leaving) == 1; }));
  const bool first = recoveries->incidents()[0].settlement->state == Settled::leaving;
  const auto gone = recoveries->incidents()[first ? 0 : 1].target;
  recoveries->containerCreated(
      gone.podUid, {"c1", gone.sandboxId, "main", 0, cri::Container::State::created, "r/checkout:1", ""});
  ASSERT_TRUE(runUntil(loop, [&] { return settledCount(Settled::leaving) == 0; }));
  clock.advance(loop, 25s);
  EXPECT_EQ(settledCount(Settled::leaving), 0U);
  clock.advance(loop, 2s);
  EXPECT_EQ(settledCount(Settled::leaving), 1U) << "5 + 1 s for the startup probe, 2 * 10 s for readiness";
}

/// The API server reports which pods of the workload are ready.
struct EndpointsTest : SettlingTest {
  EndpointsTest() {
    services->endpoints = [this](const std::string&) { return facts; };
    services->askEndpoints = [this](const std::string&) {
      ++questions;
      if (facts && answers) facts->asOf = clock.now();
    };
    services->readyWithout = [this](const std::string& uid, const std::string&, const std::string& standIn) {
      EXPECT_THAT(standIn, HasSubstr("stand-in-"));
      const auto found = ready.find(uid);
      return found == ready.end() ? std::nullopt : std::optional(found->second);
    };
    services->isDeleting = [this](const std::string&) { return deleting; };
  }
  void imageComes() {
    settles();
    adopt();
    recoveries->imageArrived("r/checkout:1");
  }
  /// Lets one of two stand-ins make way and its container come.
  void oneHasLeft() {
    specs.specs["uid-s2"] = specs.specs["uid-s1"];
    settlesTwo();
    recoveries->imageArrived("r/checkout:1");
    ASSERT_TRUE(runUntil(loop, [&] { return settledCount(Settled::leaving) == 1; }));
    const bool first = recoveries->incidents()[0].settlement->state == Settled::leaving;
    left = recoveries->incidents()[first ? 0 : 1].target;
    recoveries->containerCreated(
        left.podUid, {"c1", left.sandboxId, "main", 0, cri::Container::State::created, "r/checkout:1", ""});
    ASSERT_TRUE(runUntil(loop, [&] { return settledCount(Settled::leaving) == 0; }));
  }

  std::optional<standin::EndpointFacts> facts;
  std::map<std::string, bool> ready;  // by pod uid
  Target left;
  bool answers = true;
  bool deleting = false;
  int questions = 0;
};

TEST_F(EndpointsTest, TheOnlyReadyOneOfSeveralStaysUntilAnotherIsReady) {
  facts = standin::EndpointFacts{true, 0, 0, 3, 1, {}};
  imageComes();
  clock.advance(loop, 1min);
  EXPECT_EQ(settled(), Settled::settled);
  EXPECT_THAT(why(), HasSubstr("none of the other 2 pods of its workload is ready"));
  EXPECT_GE(questions, 30) << "the query is repeated";
  facts->ownerReady = 2;
  ASSERT_TRUE(becomes(Settled::leaving));
}

TEST_F(EndpointsTest, ItDoesNotWaitForEver) {
  facts = standin::EndpointFacts{true, 0, 0, 3, 1, {}};
  imageComes();
  clock.advance(loop, LastEndpoint::kLimit - 5s);
  EXPECT_EQ(settled(), Settled::settled);
  clock.advance(loop, 10s);
  ASSERT_EQ(settled(), Settled::leaving);
  EXPECT_THAT(why(), HasSubstr("no other pod of its workload became ready in 10 minutes"));
}

TEST_F(EndpointsTest, AWorkloadOfOneReplicaHasNothingToWaitFor) {
  facts = standin::EndpointFacts{true, 0, 0, 1, 1, {}};
  imageComes();
  clock.advance(loop, 1s);
  EXPECT_EQ(settled(), Settled::leaving);
}

TEST_F(EndpointsTest, UnknownEndpointsDelayNobody) {
  answers = false;
  facts = standin::EndpointFacts{true, 0, 0, 3, 1, {}};
  imageComes();
  clock.advance(loop, 500ms);
  EXPECT_EQ(settled(), Settled::settled) << "the query is under way";
  clock.advance(loop, 2s);
  EXPECT_EQ(settled(), Settled::leaving) << "the owner's earlier answer does not count";
}

TEST_F(EndpointsTest, WithNowNobodyIsAsked) {
  facts = standin::EndpointFacts{true, 0, 0, 3, 1, {}};
  handBackWhen = config::HandBackWhen::now;
  recoveries->reconfigure(configured());
  imageComes();
  ASSERT_TRUE(becomes(Settled::leaving));
  EXPECT_EQ(questions, 0);
}

TEST_F(EndpointsTest, TheNextOneGoesSoonAfterTheLastIsReady) {
  ASSERT_NO_FATAL_FAILURE(oneHasLeft());
  ready[left.podUid] = true;
  clock.advance(loop, 500ms);
  EXPECT_EQ(settledCount(Settled::leaving), 0U) << "Services need time to route to it";
  clock.advance(loop, 1s);
  EXPECT_EQ(settledCount(Settled::leaving), 1U) << "sooner than if readiness were unknown";
}

TEST_F(EndpointsTest, TheNextOneStaysWhileTheLastIsNotReady) {
  ASSERT_NO_FATAL_FAILURE(oneHasLeft());
  ready[left.podUid] = false;
  clock.advance(loop, 30s);
  EXPECT_EQ(settledCount(Settled::leaving), 0U);
  ready[left.podUid] = true;
  clock.advance(loop, 2s);
  EXPECT_EQ(settledCount(Settled::leaving), 1U);
}

TEST_F(EndpointsTest, OneThatIsNeverReadyDoesNotHoldTheOthersForEver) {
  ASSERT_NO_FATAL_FAILURE(oneHasLeft());
  ready[left.podUid] = false;
  clock.advance(loop, Departures::kLimit + 1s);
  EXPECT_EQ(settledCount(Settled::leaving), 1U);
}

TEST_F(EndpointsTest, AnEarlyStopOfADeletedPodIsNotARejection) {
  deleting = true;
  settles();
  clock.advance(loop, 1s);
  standIns.made[0]->send(SIGTERM);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched[0]->stoppedWithGrace.has_value(); }));
  EXPECT_FALSE(standIns.made[0]->removed) << "kubelet reads the exit code";
  clock.advance(loop, 20s);
  EXPECT_EQ(launcher.launched.size(), 1U) << "it is not restarted while other containers drain";
}

TEST_F(EndpointsTest, APodThatGoesWhileItsStandInCannotBeRemovedDrains) {
  settles();
  adopt();
  standIns.silent = true;
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 5s);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  deleting = true;
  clock.advance(loop, 30s);
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
}

TEST_F(SettlingTest, AStandInThatIsNotMadeAgainDelaysNobody) {
  runtime.addSandbox("s2", "shop", "checkout-2");
  specs.specs["uid-s2"] = specs.specs["uid-s1"];
  settles();
  // Rejected twice, the second time at the moment when it may make way.
  standIns.made[0]->send(SIGTERM);
  ASSERT_TRUE(becomes(Settled::rejected));
  clock.advance(loop, 31s);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  standIns.made[1]->send(SIGTERM);
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(becomes(Settled::rejected));
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 3; }));
  adopt();
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 5s);
  EXPECT_TRUE(standIns.made[2]->removed);
}

TEST_F(SettlingTest, OneWhoseFallbackDiesOnTheWayDoesNotHoldItsPlaceForEver) {
  specs.specs["uid-s2"] = specs.specs["uid-s1"];
  settlesTwo();
  runtime.images.insert("r/checkout:1");
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(runUntil(loop, [&] { return settledCount(Settled::leaving) == 1; }));
  const bool first = recoveries->incidents()[0].settlement->state == Settled::leaving;
  const auto gone = recoveries->incidents()[first ? 0 : 1].target.sandboxId;
  // The fallback never becomes ready again.
  test::Gate never(loop);
  readyGate = &never;
  launcher.launched[gone == "s1" ? 0 : 1]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 3; }));
  clock.advance(loop, 50s);
  EXPECT_EQ(settledCount(Settled::leaving), 1U);
  clock.advance(loop, 10min + 20s);
  EXPECT_EQ(settledCount(Settled::leaving), 2U);
  stop(*recoveries);
}

TEST_F(SettlingTest, OnDeleteItNeverMakesWayByItself) {
  handBackWhen = config::HandBackWhen::on_delete;
  settles();
  adopt();
  runtime.images.insert("r/checkout:1");
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 5min);
  EXPECT_EQ(settled(), Settled::settled);
  EXPECT_FALSE(standIns.made[0]->removed);
}

TEST_F(SettlingTest, UntilItIsRemovedItIsTriedAgain) {
  settles();
  adopt();
  standIns.silent = true;
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 5s);
  EXPECT_EQ(settled(), Settled::settled);
  standIns.silent = false;
  ASSERT_TRUE(becomes(Settled::leaving));
}

struct HalfRemoved : SettlingTest {
  void makesWay() {
    standIns.halfRemovals = 2;
    recoveries->imageArrived("r/checkout:1");
    clock.advance(loop, 5s);
    ASSERT_TRUE(becomes(Settled::leaving));
    EXPECT_EQ(standIns.halfRemovals, 0);
    EXPECT_TRUE(standIns.made[0]->removed);
    EXPECT_EQ(state(), State::ready);
    EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace) << "the fallback serves until the container comes";
    EXPECT_TRUE(metric(R"(fallbackd_stand_ins_total{result="ended",workload="checkout"} 1)"));
    EXPECT_FALSE(metric(R"(fallbackd_stand_ins_total{result="stopped",workload="checkout"} 1)"));
    EXPECT_FALSE(metric(R"(fallbackd_stand_ins_total{result="rejected",workload="checkout"} 1)"));
  }
};

TEST_F(HalfRemoved, OurOwnStopIsNotTakenForKubelets) {
  settles();
  adopt();
  makesWay();
}

TEST_F(HalfRemoved, OurOwnEarlyStopIsNotARejection) {
  settles();
  makesWay();
}

TEST_F(SettlingTest, AReloadThatWantsNoneRemovesIt) {
  auto settling = std::make_shared<config::Config>(*makeConfig());
  settling->settle = config::Settle::always;
  settle.reset();
  recoveries->reconfigure(settling);
  settles();
  adopt();
  recoveries->reconfigure(settling);
  clock.advance(loop, 1s);
  EXPECT_EQ(settled(), Settled::settled) << "no relevant setting changed";
  recoveries->reconfigure(makeConfig());
  ASSERT_TRUE(becomes(Settled::refused));
  EXPECT_TRUE(standIns.made[0]->removed);
  EXPECT_EQ(state(), State::ready);
  clock.advance(loop, 5min);
  EXPECT_EQ(standIns.attempts, 1);
}

TEST_F(SettlingTest, AnImageThatIsHereNeedsNone) {
  runtime.images.insert("r/checkout:1");
  detect();
  ASSERT_TRUE(becomes(Settled::refused));
  EXPECT_EQ(standIns.attempts, 0);
}

TEST_F(SettlingTest, AContainerThatKubeletCouldStartGetsNone) {
  cause = Cause::not_started;
  detect();
  ASSERT_TRUE(becomes(Settled::refused));
  EXPECT_EQ(standIns.attempts, 0);
}

TEST_F(SettlingTest, ARolloutHoldsItUntilItMayNotHarm) {
  settle = config::Settle::automatic;
  rollout = Rollout{Rollout::State::in_progress, true, "the Deployment is being rolled out"};
  detect();
  ASSERT_TRUE(becomes(Settled::held));
  EXPECT_THAT(why(), HasSubstr("the Deployment is being rolled out"));
  EXPECT_EQ(rolloutQuestions, 1);
  clock.advance(loop, 1min);
  EXPECT_GE(rolloutQuestions, 2);
  EXPECT_LE(rolloutQuestions, 3);
  EXPECT_EQ(standIns.attempts, 0);
  EXPECT_EQ(state(), State::ready);
  rollout->otherRevisionReady = false;
  ASSERT_TRUE(becomes(Settled::settled));
}

TEST_F(SettlingTest, WithoutKnowledgeAutoMeansNever) {
  settle = config::Settle::automatic;
  specs.specs.clear();
  detect();
  ASSERT_TRUE(becomes(Settled::refused));
  EXPECT_EQ(why(), "the pod's specification is not known");
  specs.specs["uid-s1"] = test::specOf("r/checkout:1");
  rollout = Rollout{Rollout::State::complete, false, "the Deployment's revision was rolled out"};
  ASSERT_TRUE(becomes(Settled::settled)) << "the rollout is now known";
}

TEST_F(SettlingTest, WithoutAnApiServerAutoMeansNever) {
  settle = config::Settle::automatic;
  auto config = std::make_shared<config::Config>(*configured());
  config->kubernetes.sources = {config::PodSource::kubelet};
  recoveries->reconfigure(config);
  detect();
  ASSERT_TRUE(becomes(Settled::refused));
  EXPECT_THAT(why(), HasSubstr("settle is auto, which means never unless kubernetes.sources has apiserver"));
  clock.advance(loop, 1min);
  EXPECT_EQ(rolloutQuestions, 0);
  EXPECT_EQ(standIns.attempts, 0);
}

TEST_F(SettlingTest, ARuntimeThatRefusesIsAskedOnceAMinute) {
  standIns.refusal = Error{Stage::containerd, Reason::protocol, 0, "an admission plugin says no"};
  detect();
  ASSERT_TRUE(becomes(Settled::failed));
  EXPECT_THAT(why(), HasSubstr("an admission plugin says no"));
  clock.advance(loop, 30min);
  EXPECT_GE(standIns.attempts, 30);
  EXPECT_LE(standIns.attempts, 36);
  EXPECT_EQ(state(), State::ready);
  standIns.refusal.reset();
  clock.advance(loop, 1min);
  EXPECT_EQ(settled(), Settled::settled) << "the runtime's outage has ended";
}

TEST_F(SettlingTest, AnotherConfigurationMayNotBeRejected) {
  for (std::size_t i = 0; i < 2; ++i) {
    if (i == 0) detect();
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == i + 1; }));
    standIns.made[i]->send(SIGTERM);
    ASSERT_TRUE(becomes(Settled::rejected));
    clock.advance(loop, 31s);
  }
  clock.advance(loop, 5min);
  EXPECT_EQ(standIns.attempts, 2);
  recoveries->reconfigure(configured());
  clock.advance(loop, 1min + 1s);
  EXPECT_EQ(standIns.attempts, 3);
  EXPECT_EQ(settled(), Settled::settled);
}

TEST_F(SettlingTest, ARejectionOfOneThatStayedIsTheFirst) {
  settles();
  for (std::size_t i = 0; i < 4; ++i) {
    adopt();
    standIns.made[i]->send(0);  // a third party removed it
    ASSERT_TRUE(becomes(Settled::rejected));
    EXPECT_THAT(why(), testing::Not(HasSubstr("likely"))) << "kubelet asks before it kills";
    clock.advance(loop, 31s);
    ASSERT_EQ(standIns.made.size(), i + 2);
  }
}

TEST_F(SettlingTest, AnEarlyStopIsEarlyHoweverLongTheRemovalTakes) {
  standIns.removalTakes = 6s;
  settles();
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == i + 1; }));
    clock.advance(loop, 1s);
    standIns.made[i]->send(SIGTERM);
    ASSERT_TRUE(becomes(Settled::rejected));
    if (i == 0) {
      EXPECT_THAT(why(), HasSubstr(" 1000 ms after its start"));
    }
    clock.advance(loop, 31s);
  }
  clock.advance(loop, 5min);
  EXPECT_EQ(standIns.attempts, 2);
}

TEST_F(SettlingTest, OneThatMayRunUnheldIsRemovedThoughItsImageIsHere) {
  standIns.refusal = Error{Stage::run, Reason::unavailable, 0, "containerd was killed"};
  standIns.silent = true;
  detect();
  ASSERT_TRUE(becomes(Settled::failed));
  clock.advance(loop, 10s);
  EXPECT_EQ(standIns.removals, 0);
  runtime.images.insert("r/checkout:1");
  standIns.silent = false;
  clock.advance(loop, 15s);
  EXPECT_EQ(standIns.removals, 1) << "kubelet does not create the container while it runs";
  clock.advance(loop, 5min);
  EXPECT_EQ(standIns.removals, 1);
  EXPECT_EQ(standIns.attempts, 1);
}

TEST_F(SettlingTest, ARejectedOneIsRemovedUntilThatSucceeds) {
  settles();
  standIns.made[0]->send(SIGTERM);
  standIns.silent = true;
  ASSERT_TRUE(becomes(Settled::rejected));
  EXPECT_FALSE(standIns.made[0]->removed);
  runtime.images.insert("r/checkout:1");
  clock.advance(loop, 1min);
  standIns.silent = false;
  clock.advance(loop, 1min);
  EXPECT_TRUE(standIns.made[0]->removed);
  EXPECT_EQ(standIns.attempts, 1);
}

TEST_F(SettlingTest, TheNextDaemonTakesItOver) {
  settles();
  adopt();
  stop(*recoveries);
  EXPECT_FALSE(standIns.made[0]->exitCode) << "the stand-in stays";
  EXPECT_FALSE(standIns.made[0]->removed);
  standIns.earlier = true;
  standIns.silent = true;
  recoveries.emplace(*services, configured());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  ASSERT_TRUE(reaches(State::ready));
  clock.advance(loop, 5s);
  EXPECT_EQ(standIns.attempts, 1) << "no stand-in is made until the runtime answers";
  standIns.silent = false;
  ASSERT_TRUE(becomes(Settled::settled));
  EXPECT_EQ(standIns.attempts, 1);
  EXPECT_EQ(standIns.made[1]->request.recoveryId, recoveries->incidents()[0].id);
  // kubelet adopted it long ago, so a stop is not a rejection.
  standIns.made[1]->send(SIGTERM);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made[1]->exitCode.has_value(); }));
  EXPECT_TRUE(launcher.adopted[0]->stoppedWithGrace);
}

TEST_F(SettlingTest, AnImageThatCameUnseenIsNoticed) {
  settles();
  runtime.images.insert("r/checkout:1");
  clock.advance(loop, 31s);
  ASSERT_TRUE(becomes(Settled::leaving));
  EXPECT_TRUE(standIns.made[0]->removed) << "kubelet does not create the container while it runs";
  EXPECT_EQ(state(), State::ready);
}

TEST_F(SettlingTest, TheNextDaemonRemovesWhatIsNotWantedAnyMore) {
  settles();
  stop(*recoveries);
  standIns.earlier = true;
  settle = config::Settle::never;
  recoveries.emplace(*services, configured());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  EXPECT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2 && standIns.made[1]->removed; }));
  EXPECT_EQ(standIns.attempts, 1);
}

TEST_F(SettlingTest, TheNextDaemonNoticesAnImageThatCameMeanwhile) {
  settles();
  stop(*recoveries);
  standIns.earlier = true;
  runtime.images.insert("r/checkout:1");
  recoveries.emplace(*services, configured());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  EXPECT_TRUE(becomes(Settled::leaving));
  EXPECT_EQ(standIns.attempts, 1);
}

TEST_F(SettlingTest, OneWhoseMakingWasCancelledIsRemoved) {
  standIns.hangs = true;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.attempts == 1; }));
  launcher.launched[0]->die(Kind::exited, 1);
  EXPECT_TRUE(runUntil(loop, [&] { return standIns.removals > 0; }))
      << "it may have been started nevertheless";
}

TEST_F(SettlingTest, WhatMustComeBeforeItIsInTheSpecification) {
  auto pod = test::podOf("registry.example/checkout:1");
  for (const char* const name : {"migrate", "proxy", "warm-up"}) {
    auto& one = pod.initContainers.emplace_back();
    one.name = name;
    if (name == std::string("proxy")) one.restartPolicy = "Always";
  }
  specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(pod);
  settles();
  EXPECT_THAT(standIns.made[0]->request.initContainers, testing::ElementsAre("migrate", "warm-up"));
  EXPECT_THAT(standIns.made[0]->request.sidecars, testing::ElementsAre("proxy"));
}

/// The real program needs the port, and a deleted pod has to drain. A call that makes a stand-in may take
/// seconds; a stand-in that it still makes is removed.
TEST_F(SettlingTest, NoEndOfAFallbackWaitsForAStandInThatIsBeingMade) {
  const std::map<State, std::function<void()>> ends{
      {State::handed_back, [&] { kubeletMakes("c1", "main"); }},
      {State::pod_gone, [&] { recoveries->sandboxGone("s1"); }},
  };
  for (const auto& [state, end] : ends) {
    Event call(loop.get_executor());
    standIns.call = &call;
    const auto attempts = standIns.attempts;
    const auto removals = standIns.removals;
    detect();
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.attempts == attempts + 1; }));
    end();
    EXPECT_TRUE(runUntil(loop, [&] { return launcher.launched.back()->stoppedWithGrace.has_value(); }))
        << toString(state);
    EXPECT_EQ(standIns.removals, removals) << "no stand-in exists yet";
    call.set();
    ASSERT_TRUE(reaches(state));
    EXPECT_EQ(standIns.removals, removals + 1);
    EXPECT_TRUE(standIns.made.back()->removed);
  }
}

TEST_F(SettlingTest, ADaemonThatStopsLetsTheCallEnd) {
  Event call(loop.get_executor());
  standIns.call = &call;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.attempts == 1; }));
  bool stopped = false;
  boost::asio::co_spawn(loop, recoveries->stop(), [&](std::exception_ptr) { stopped = true; });
  clock.advance(loop, 1min);
  EXPECT_FALSE(stopped);
  call.set();
  EXPECT_TRUE(runUntil(loop, [&] { return stopped; }));
  EXPECT_EQ(standIns.removals, 0) << "the next daemon takes it over";
}

struct ServesOnAtTheStart : SettlingTest {
  ServesOnAtTheStart() {
    handBackOn = config::HandBackOn::start;
    recoveries.emplace(*services, configured());
  }
  /// Expects that the stand-in is removed at once and that no further one is made.
  void expectNoneBeside(int attempts) {
    const auto began = clock.now();
    const auto before = standIns.removals;
    kubeletMakes("c1", "main");
    EXPECT_TRUE(runUntil(loop, [&] { return standIns.removals > before; }));
    EXPECT_LT(clock.now() - began, 1s);
    standIns.hangs = false;
    clock.advance(loop, 20s);
    EXPECT_EQ(standIns.attempts, attempts);
    EXPECT_EQ(state(), State::ready);
    EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
    EXPECT_FALSE(metric(R"(fallbackd_stand_ins_total{result="failed",workload="checkout"} 1)"));
  }
};

TEST_F(ServesOnAtTheStart, OneThatIsBeingMadeIsNotStarted) {
  standIns.hangs = true;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.attempts == 1; }));
  expectNoneBeside(1);
}

TEST_F(ServesOnAtTheStart, OneThatWasMadeAllTheSameIsRemoved) {
  Event call(loop.get_executor());
  standIns.call = &call;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.attempts == 1; }));
  call.set();  // the call's answer is on its way
  expectNoneBeside(1);
  EXPECT_TRUE(standIns.made.back()->removed);
}

TEST_F(ServesOnAtTheStart, OneThatRunsMakesWayOutOfTurn) {
  settles();
  adopt();
  expectNoneBeside(1);
}

TEST_F(SettlingTest, ByDefaultNothingIsSaidOrCounted) {
  settle.reset();
  cause = Cause::not_started;
  detect();
  ASSERT_TRUE(becomes(Settled::refused));
  EXPECT_FALSE(metric(R"(fallbackd_stand_ins_total{result="refused",workload="checkout"} 1)"));
}

TEST_F(SettlingTest, StandInsWithoutARecoveryAreSwept) {
  settles();
  const auto id = recoveries->incidents()[0].id;
  stop(*recoveries);
  standIns.others = {id, "of-nobody"};
  standIns.earlier = true;
  recoveries.emplace(*services, configured());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.sweeps > 0; }));
  EXPECT_EQ(standIns.swept, 1U);
}

/// After a restart it is unknown what the pod specifies.
struct NotDetermined : SettlingTest {
  void restarts() {
    settles();
    stop(*recoveries);
    id = standIns.made[0]->request.recoveryId;
    standIns.others = {id, "of-nobody"};
    standIns.earlier = true;
    specs.specs.clear();
    auto config = std::make_shared<config::Config>(*configured());
    config->workloads[0].inheritance.on = true;
    recoveries.emplace(*services, config);
    boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
    ASSERT_TRUE(runUntil(loop, [&] { return standIns.sweeps > 0; }));
  }
  std::string id;
};

TEST_F(NotDetermined, OneThatEndedHasNoStandInAndKeepsNoOthers) {
  launcher.adoptable = false;
  ASSERT_NO_FATAL_FAILURE(restarts());
  EXPECT_GE(standIns.removals, 1) << "the fallback has ended, whatever the pod specified";
  EXPECT_EQ(standIns.removedFrom, standin::Fallback::ended);
  EXPECT_EQ(standIns.swept, 1U);
}

TEST_F(NotDetermined, OneThatRunsKeepsItsStandIn) {
  ASSERT_NO_FATAL_FAILURE(restarts());
  EXPECT_EQ(standIns.removals, 0);
  EXPECT_EQ(standIns.swept, 1U);
}

/// The operator's order that no stand-in may be on the node.
struct RemovedAll : SettlingTest {
  RemovedAll() { boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached); }
  void order() {
    sweepsBefore = standIns.sweeps;
    recoveries->pause({.node = config::Pause::Order{}, .withoutStandIns = true});
  }
  bool swept() {
    return runUntil(loop, [&] { return standIns.sweeps > sweepsBefore; });
  }
  bool gone() {
    return runUntil(loop, [&] { return recoveries->standInsGone(); });
  }
  int sweepsBefore = 0;
};

TEST_F(RemovedAll, TheyAreGoneAtOnceAndAlsoThoseThatEnded) {
  settles();
  standIns.others = {recoveries->incidents()[0].id, "of-nobody"};
  EXPECT_FALSE(recoveries->standInsGone());
  order();
  EXPECT_FALSE(recoveries->standInsGone());
  ASSERT_TRUE(gone());
  EXPECT_TRUE(standIns.made[0]->removed);
  EXPECT_GE(standIns.swept, 2U);
  EXPECT_EQ(state(), State::ready) << "the fallback continues";
  recoveries->pause({});
  EXPECT_FALSE(recoveries->standInsGone()) << "stand-ins are allowed again";
}

TEST_F(RemovedAll, NotGoneWhileOneIsBeingMade) {
  standIns.hangs = true;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.attempts == 1; }));
  order();
  ASSERT_TRUE(swept());
  EXPECT_FALSE(recoveries->standInsGone());
  launcher.launched[0]->die(Kind::exited, 1);
  EXPECT_TRUE(gone());
}

TEST_F(RemovedAll, NotGoneWhileTheRuntimeDoesNotSay) {
  standIns.silent = true;
  order();
  ASSERT_TRUE(swept());
  EXPECT_FALSE(recoveries->standInsGone());
  standIns.silent = false;
  EXPECT_TRUE(gone());
}

TEST_F(RemovedAll, WhatIsOrderedDoesNotWaitForASweepThatFailed) {
  standIns.silent = true;
  clock.advance(loop, 10min);
  order();
  clock.advance(loop, 0s);
  EXPECT_EQ(standIns.sweeps, sweepsBefore + 1);
  clock.advance(loop, 5s);
  EXPECT_EQ(standIns.sweeps, sweepsBefore + 2) << "the next sweep follows after the shortest pause";
}

/// containerd fails to remove stand-ins.
struct SweepsFail : SettlingTest {
  SweepsFail() {
    log.reconfigure(config::LogFormat::json, config::LogLevel::warn);
    standIns.silent = true;
    boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  }
  const test::CaughtLog caught;
};

TEST_F(SweepsFail, TheyComeLessOftenAndAreLoggedOnce) {
  clock.advance(loop, 10min);
  EXPECT_GT(standIns.sweeps, 10) << "at least one each minute";
  EXPECT_LT(standIns.sweeps, 30);
  EXPECT_EQ(caught.lines(), 1) << caught.text();
  EXPECT_NE(caught.text().find("stand-ins without a fallback cannot be removed"), std::string::npos);
}

TEST_F(SweepsFail, WhatFailsAgainIsLoggedAgain) {
  clock.advance(loop, 10min);
  standIns.silent = false;
  clock.advance(loop, 2min);
  services->standInsMayExist = true;
  standIns.silent = true;
  clock.advance(loop, 2min);
  EXPECT_EQ(caught.lines(), 2) << caught.text();
}

TEST_F(SettlingTest, OneWhoseFallbackDiedWhileNoDaemonRanIsSwept) {
  settles();
  standIns.others = {recoveries->incidents()[0].id};
  stop(*recoveries);
  launcher.adoptable = false;
  recoveries.emplace(*services, configured());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.sweeps > 0; }));
  EXPECT_EQ(standIns.swept, 1U);
}

}  // namespace
}  // namespace fallbackd::recovery
