// SPDX-License-Identifier: Apache-2.0
// Recoveries of workloads that take unset values from the pod's specification: each launch, and the next
// daemon.
#include "fake_pod_specs.hpp"
#include "recovery_fixture.hpp"

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using test::runUntil;
using testing::ElementsAre;
using testing::HasSubstr;

struct Inheriting : RecoveryTest {
  Inheriting() {
    services->specs = &specs;
    auto& workload = config->workloads.emplace_back(makeConfig()->workloads[0]);
    workload.image.clear();
    workload.inheritance.on = true;
    recoveries.emplace(*services, config);
    describe({"--port=1"});
  }
  void describe(std::vector<std::string> args, const std::string& image = "r/checkout:1.8.3") {
    auto pod = test::podOf(image);
    pod.containers[0].args = std::move(args);
    specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(std::move(pod));
  }
  void detectInheriting() {
    const auto& sandbox = runtime.sandboxes.at("s1").sandbox;
    const auto spec = specs.described("uid-s1");
    watcher::Detection detection;
    detection.sandbox = sandbox;
    detection.workload = watcher::workloadsFor(config, sandbox, spec.get()).workloads.at(0);
    detection.cause = Cause::unreachable;
    detection.waitingSince = detection.failureKnown = clock.now();
    recoveries->detected(std::move(detection));
  }
  void next() {
    stop(*recoveries);
    launcher.kept.reset();
    recoveries.emplace(*services, config);
    bool adopted = false;
    boost::asio::co_spawn(loop, recoveries->adopt(), [&](std::exception_ptr) { adopted = true; });
    ASSERT_TRUE(runUntil(loop, [&] { return adopted && !launcher.adopted.empty(); }));
  }
  const std::vector<std::string>& argsOf(std::size_t launch) const {
    return launcher.launched.at(launch)->request.workload.args;
  }

  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  test::FakePodSpecs specs;
};

TEST_F(Inheriting, EachLaunchIsAsThePodSaysThen) {
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_THAT(argsOf(0), ElementsAre("--port=1"));
  describe({"--port=2"});
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_THAT(argsOf(1), ElementsAre("--port=2"));
}

TEST_F(Inheriting, AnotherVersionThanThePodsIsNotLaunched) {
  describe({}, "r/checkout:1.9.0");
  detectInheriting();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_THAT(recoveries->incidents()[0].error->message(), HasSubstr("no binary for checkout 1.9.0"));
  EXPECT_TRUE(metric(R"(reason="version_mismatch",stage="config")"));
}

TEST_F(Inheriting, TheNextDaemonKeepsAFallbackUntilItKnowsItsPod) {
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  specs.specs.clear();
  next();
  EXPECT_EQ(state(), State::ready);
  EXPECT_FALSE(launcher.adopted.at(0)->stoppedWithGrace);
  launcher.adopted[0]->die(Kind::signaled, 9);
  clock.advance(loop, 50ms);
  EXPECT_EQ(launcher.launched.size(), 1U) << "without the specification it cannot be started";
  describe({"--port=3"});
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_THAT(argsOf(1), ElementsAre("--port=3"));
}

TEST_F(Inheriting, TheNextDaemonRunsTheProbesOfAFallbackThatAnEarlierOneStarted) {
  auto pod = test::podOf("r/checkout:1.8.3");
  pod.containers[0].command = {"/checkout"};
  pod.containers[0].livenessProbe = kube::Probe{kube::ExecCommand{{"/checkout", "alive"}}, 0, 1, 10, 1};
  specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(pod);
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  next();
  ASSERT_TRUE(launcher.probes.empty());
  runtime.down = true;
  clock.advance(loop, 10s);
  EXPECT_TRUE(launcher.probes.empty());
  EXPECT_TRUE(recoveries->incidents()[0].error) << "it cannot be probed while its sandbox is unknown";
  runtime.down = false;
  launcher.probeAnswers.push_back(fail(Stage::readiness, Reason::not_ready, "exit code 1"));
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; })) << "restarted";
  ASSERT_EQ(launcher.probes.size(), 1U);
  const auto& like = launcher.probes[0].like;
  EXPECT_TRUE(like.executable != nullptr);
  EXPECT_EQ(like.sandbox.pausePid, 4242);
  EXPECT_EQ(like.workload.user.uid, 1000U);
  EXPECT_THAT(launcher.probes[0].argv, ElementsAre("/checkout", "alive"));
}

TEST_F(Inheriting, TheRealContainerEndsAFallbackWhosePodIsNotKnown) {
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  specs.specs.clear();
  next();
  kubeletMakes("c1", "main", "r/checkout:1.8.3");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.adopted.at(0)->stoppedWithGrace);
}

TEST_F(Inheriting, TheRealContainerEndsTheFallbackAlsoWithAnotherImage) {
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c1", "main", "mirror/other/checkout:1.8.3");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(Inheriting, AnUnjournaledFallbackIsKeptUntilItsPodIsKnown) {
  specs.specs.clear();
  launcher::Unclaimed one;
  one.podUid = "uid-s1";
  one.container = "main";
  one.record.pid = 77;
  launcher.unclaimed = {one};
  stop(*recoveries);
  recoveries.emplace(*services, config);
  bool adopted = false;
  boost::asio::co_spawn(loop, recoveries->adopt(), [&](std::exception_ptr) { adopted = true; });
  ASSERT_TRUE(runUntil(loop, [&] { return adopted; }));
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 4; }));
  EXPECT_TRUE(launcher.adopted.empty());
  EXPECT_TRUE(launcher.discarded.empty());
  describe({});
  EXPECT_TRUE(runUntil(loop, [&] { return launcher.adopted.size() == 1; }));
}

TEST_F(Inheriting, ADeadFallbackOfAPodThatIsGoneIsForgotten) {
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  specs.specs.clear();
  runtime.sandboxes.clear();
  launcher.adoptable = false;
  stop(*recoveries);
  recoveries.emplace(*services, config);
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  EXPECT_TRUE(runUntil(loop, [&] { return journalled() == 0; }));
}

TEST_F(Inheriting, WhatRunsAlreadyIsEndedAsItsPodSays) {
  detectInheriting();
  ASSERT_TRUE(reaches(State::ready));
  auto pod = test::podOf("r/checkout:9.9.9");  // would not be started now
  pod.terminationGracePeriodSeconds = 77;
  specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(std::move(pod));
  next();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.adopted.at(0)->stoppedWithGrace, 77s);
}

TEST_F(Inheriting, ObservingReportsWhatWouldNotHaveStarted) {
  config->mode = config::Mode::observe;
  describe({}, "r/checkout:1.9.0");
  detectInheriting();
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto all = recoveries->withholding().all();
    return !all.empty() && all[0].refused.has_value();
  }));
  EXPECT_THAT(recoveries->withholding().all()[0].refused->message(),
              HasSubstr("no binary for checkout 1.9.0"));
}

}  // namespace
}  // namespace fallbackd::recovery
