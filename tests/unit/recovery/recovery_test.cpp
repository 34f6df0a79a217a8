// SPDX-License-Identifier: Apache-2.0
// One recovery from its detection to its end: launch, readiness, liveness, restarts, failures.
#include "recovery_fixture.hpp"

#include <cerrno>
#include <vector>

namespace fallbackd::recovery {
namespace {

using test::runUntil;

TEST_F(RecoveryTest, ReachesReadyAndIsMeasured) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_EQ(launcher.launched.size(), 1U);
  EXPECT_EQ(launcher.launched[0]->request.nodeName, "node-1");
  EXPECT_EQ(launcher.launched[0]->request.sandbox.pausePid, 4242);
  EXPECT_EQ(journalled(), 1U);
  const auto stamps = recoveries->incidents()[0].stamps;
  EXPECT_TRUE(stamps.verified && stamps.prepared && stamps.healthChecked && stamps.started && stamps.ready);
  EXPECT_TRUE(metric(R"(fallbackd_recovery_seconds_count{cause="unreachable",workload="checkout"} 1)"));
  for (const std::string phase : {"detect", "verify", "prepare", "health_check", "exec", "ready"}) {
    EXPECT_TRUE(metric("fallbackd_recovery_phase_seconds_count{phase=\"" + phase + "\"} 1")) << phase;
  }
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_recoveries_begun_total{cause="unreachable",workload="checkout"} 1)"));
  EXPECT_TRUE(metric("fallbackd_journal_entries 1"));
  EXPECT_NE(metrics.serializeOpenMetrics().find("# {recovery=\"" + recoveries->incidents()[0].id + "\"}"),
            std::string::npos);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
  EXPECT_TRUE(metric("fallbackd_journal_entries 0"));
  EXPECT_TRUE(metric(R"(fallbackd_journal_operations_total{operation="remove",result="ok"} 1)"));
}

/// The next pod must get the same copy.
TEST_F(RecoveryTest, ACopyIsHeldAsLongAsItsProcessRuns) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_EQ(binaries.copies.size(), 1U);
  launcher.launched[0]->request = {};  // the launcher drops its reference after the launch
  EXPECT_FALSE(binaries.copies[0].expired());
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_TRUE(binaries.copies[0].expired()) << "no process runs from it";
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[1]->request = {};
  EXPECT_FALSE(binaries.copies[1].expired());
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(binaries.copies[1].expired());
}

TEST_F(RecoveryTest, TheKnownSandboxStatusIsUsedForTheFirstLaunch) {
  detect("s1", runtime.sandboxes.at("s1"));
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(launcher.launched[0]->request.sandbox.pausePid, 4242);
  EXPECT_EQ(runtime.calls, 0);
  runtime.sandboxes.at("s1").pausePid = 4343;
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.sandbox.pausePid, 4343);
}

TEST_F(RecoveryTest, AFallbackThatFailsItsLivenessCheckIsStoppedAndRestarted) {
  liveness.emplace();
  liveness->interval = 1ms;
  liveness->failures = 3;
  deadAnswers = 2;  // too few in a row
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_TRUE(runUntil(loop, [&] { return questions >= 4; }));
  EXPECT_EQ(launcher.launched.size(), 1U);
  deadAnswers = 3;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents()[0].restarts, 1U);
}

TEST_F(RecoveryTest, ARuntimeThatGoesAwayOnlyDelaysTheLaunch) {
  runtime.down = true;
  launcher.refusals = 3;
  detect();
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 3; }));
  runtime.down = false;
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

/// The errors of a containerd that is overloaded or fails internally.
std::vector<Error> noAnswers() {
  return {{Stage::containerd, Reason::cancelled, 0, "PodSandboxStatus: context canceled"},
          {Stage::containerd, Reason::protocol, 0, "PodSandboxStatus: resource exhausted"}};
}

TEST_F(RecoveryTest, ARuntimeThatFailsInsideOnlyDelaysTheLaunch) {
  for (int i = 0; i < 4; ++i) {
    for (const auto& one : noAnswers()) {
      runtime.statusFailures.push_back(one);
      launcher.failures.push_back(one);  // the launcher queries it, too
    }
  }
  detect();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents().size(), 1U);
}

TEST_F(RecoveryTest, ARuntimeThatFailsInsideIsNotAskedForEver) {
  launcher.refusal = noAnswers()[1];
  detect();
  clock.advance(loop, 9s);
  EXPECT_EQ(state(), State::verified);
  clock.advance(loop, 20s);
  ASSERT_EQ(state(), State::failed);
  EXPECT_EQ(recoveries->incidents()[0].error->reason, Reason::protocol);
}

TEST_F(RecoveryTest, OneContainerHasOneRecovery) {
  detect();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  detect();
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, ConcurrentLaunchesAreLimitedAndNamespacesTakeTurns) {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->launcher.maxConcurrentLaunches = 4;
  recoveries->reconfigure(config);
  test::Gate gate(loop);
  launcher.launchGate = &gate;
  imageFrom = Provenance::annotation;
  for (int i = 0; i < 20; ++i) {
    runtime.addSandbox("e" + std::to_string(i), "evil", "own");
    detect("e" + std::to_string(i));
  }
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
  runtime.addSandbox("h1", "honest", "own");
  detect("h1");
  imageFrom = Provenance::configuration;
  detect("s1");
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 3; }));
  EXPECT_EQ(launcher.begun, (std::vector<std::string>{"evil", "honest", "shop"}));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 22; }));
  EXPECT_LE(launcher.mostLaunching, 4U);
}

TEST_F(RecoveryTest, AWaitingLaunchEndsWithItsPod) {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->launcher.maxConcurrentLaunches = 1;
  recoveries->reconfigure(config);
  test::Gate gate(loop);
  launcher.launchGate = &gate;
  runtime.addSandbox("s2", "shop", "checkout");
  detect("s1");
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
  recoveries->sandboxGone("s2");
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto all = recoveries->incidents();
    return std::any_of(all.begin(), all.end(), [](const auto& one) { return one.state == State::pod_gone; });
  }));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 1; }));
}

TEST_F(RecoveryTest, ARefusedBinaryStartsNothing) {
  binaries.refusal = Error{Stage::admission, Reason::digest_mismatch, 0, "changed"};
  detect();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_EQ(recoveries->incidents()[0].error->reason, Reason::digest_mismatch);
  EXPECT_TRUE(metric(R"(outcome="failed",reason="digest_mismatch",stage="admission")"));
}

TEST_F(RecoveryTest, AFailedRecoveryMayBeRetried) {
  launcher.refusal = Error{Stage::health_check, Reason::unhealthy, 0, "exit code 1"};
  detect();
  ASSERT_TRUE(reaches(State::failed));
  launcher.refusal.reset();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents().size(), 2U);
}

/// The errors of a node that runs out of processes, memory or descriptors, or kills helper processes.
std::vector<Error> shortages() {
  return {{Stage::spawner, Reason::system, EAGAIN, "clone"},
          {Stage::health_check, Reason::system, ENOMEM, "start the health check"},
          {Stage::sandbox, Reason::system, EMFILE, "open process 1"},
          {Stage::spawner, Reason::spawner_gone, 0, "the spawner ended"},
          {Stage::rootfs, Reason::killed, 0, "the worker died"}};
}

TEST_F(RecoveryTest, AShortageOfTheNodeOnlyDelaysTheLaunch) {
  for (const auto& one : shortages()) launcher.failures.push_back(one);
  detect();
  const auto before = clock.now();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_LT(clock.now() - before, 1s);
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_FALSE(recoveries->incidents()[0].error);
  EXPECT_FALSE(metric(R"(outcome="failed")")) << "nothing has failed";
}

TEST_F(RecoveryTest, AShortageAtARestartIsShownAndDoesNotEndTheRecovery) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  for (int i = 0; i < 8; ++i) launcher.failures.push_back(shortages()[0]);
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  EXPECT_EQ(state(), State::verified);
  EXPECT_EQ(recoveries->incidents()[0].error->errnum, EAGAIN);
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_FALSE(recoveries->incidents()[0].error);
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(recoveries->incidents()[0].restarts, 1U);
}

TEST_F(RecoveryTest, AShortageThatLastsEndsTheRecovery) {
  launcher.refusal = shortages()[0];
  detect();
  clock.advance(loop, 2min);
  ASSERT_EQ(state(), State::failed);
  EXPECT_EQ(recoveries->incidents()[0].error->errnum, EAGAIN);
  EXPECT_TRUE(metric(R"(outcome="failed",reason="system",stage="spawner")"));
}

TEST_F(RecoveryTest, ABinaryThatIsRevokedDuringAShortageIsNotLaunched) {
  launcher.failures.push_back(shortages()[0]);
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  binaries.refusal = Error{Stage::admission, Reason::revoked, 0, "checkout 1.8.3"};
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_EQ(recoveries->incidents()[0].error->reason, Reason::revoked);
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(RecoveryTest, WorkThatMayHaveRunIsNotBegunTwiceAgainstItsPolicy) {
  restartPolicy = config::RestartPolicy::never;
  launcher.failures.push_back(shortages()[0]);
  detect();
  ASSERT_TRUE(reaches(State::ready)) << "the first attempt created no process";
  runtime.addSandbox("s2", "shop", "checkout");
  launcher.failures.push_back({Stage::spawner, Reason::spawner_gone, 0, "the spawner ended"});
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto all = recoveries->incidents();
    return std::any_of(all.begin(), all.end(), [](const auto& one) { return one.state == State::failed; });
  }));
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AShortageDoesNotKeepARecoveryThatNobodyNeeds) {
  cause = Cause::not_started;
  launcher.refusal = shortages()[0];
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  recoveries->noLongerHeldUp("s1", "main");
  ASSERT_TRUE(reaches(State::withdrawn));
}

class WithdrawnRecovery : public RecoveryTest {
 protected:
  /// The launch stays at the gate.
  void withdrawDuringLaunch(test::Gate& gate) {
    cause = Cause::not_started;
    launcher.launchGate = &gate;
    detect();
    ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
    recoveries->noLongerHeldUp("s1", "main");
  }
};

TEST_F(WithdrawnRecovery, AnAttemptThatFailsIsTheLastWhereNobodyNeedsIt) {
  test::Gate gate(loop);
  ASSERT_NO_FATAL_FAILURE(withdrawDuringLaunch(gate));
  clock.advance(loop, 1s);
  EXPECT_EQ(state(), State::verified) << "the launch may still start a process";
  launcher.refusal = shortages()[0];
  gate.open();
  ASSERT_TRUE(reaches(State::withdrawn));
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(WithdrawnRecovery, AWithdrawalThatCameTooLateDoesNotEndALaterRun) {
  test::Gate gate(loop);
  ASSERT_NO_FATAL_FAILURE(withdrawDuringLaunch(gate));
  gate.open();
  ASSERT_TRUE(reaches(State::ready));
  launcher.refusal = shortages()[0];
  launcher.launched[0]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  launcher.refusal.reset();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(launcher.launched.size(), 2U);
}

TEST_F(RecoveryTest, ALaunchThatTookLongIsTriedAgainAllTheSame) {
  test::Gate gate(loop);
  launcher.launchGate = &gate;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
  clock.advance(loop, 30s);
  launcher.refusal = noAnswers()[1];
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  EXPECT_EQ(state(), State::verified) << "one failed query is not enough";
  launcher.refusal.reset();
  ASSERT_TRUE(reaches(State::ready));
}

/// A fallback can spoil the copy that it runs from, so that no other process can execute it.
TEST_F(RecoveryTest, ACopyThatIsSpoiltIsTheOnlyOneGivenUp) {
  struct Case {
    int errnum;
    mode_t mode;
    bool spoilt;
  };
  int number = 10;
  for (const auto& one : {Case{EACCES, 0550, true}, Case{EPERM, 0, true}, Case{ETXTBSY, 0555, true},
                          Case{EACCES, 0555, false}, Case{ENOEXEC, 0, false}}) {
    const std::string pod = "s" + std::to_string(number++);
    runtime.addSandbox(pod, "shop", "checkout");
    binaries.mode = one.mode;
    const int before = binaries.givenUp;
    launcher.refusal = Error{Stage::exec, Reason::system, one.errnum, "execute"};
    detect(pod);
    ASSERT_TRUE(reaches(State::failed)) << one.errnum;
    EXPECT_EQ(binaries.givenUp - before, one.spoilt ? 2 : 0) << one.errnum;
  }
}

TEST_F(RecoveryTest, AShortageIsNotWaitedForWithoutThePod) {
  launcher.refusal = shortages()[0];
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_FALSE(recoveries->incidents()[0].error);
}

TEST_F(RecoveryTest, TheEndOfThePodEndsItsFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
}

TEST_F(RecoveryTest, AProcessThatDiesIsRestarted) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  for (std::size_t round = 0; round < 3; ++round) {
    launcher.launched[round]->die(Kind::signaled, 9);
    ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == round + 2; }));
    ASSERT_TRUE(reaches(State::ready));
  }
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(recoveries->incidents()[0].restarts, 3U);
  EXPECT_EQ(launcher.launched.back()->request.restartCount, 3U);
  EXPECT_TRUE(metric(R"(fallbackd_fallback_exits_total{kind="signaled",workload="checkout"} 3)"));
}

TEST_F(RecoveryTest, AProcessThatDiesWithItsPodIsNotRestarted) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.sandboxes.erase("s1");  // kubelet kills the cgroup before the sandbox's exit is reported
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AProcessThatNeverBecomesReadyIsStopped) {
  readyResult = fail(Stage::readiness, Reason::not_ready, "port 8080");
  detect();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
  EXPECT_TRUE(metric(R"(reason="not_ready",stage="readiness")"));
}

TEST_F(RecoveryTest, AnUnprobeableFallbackIsLeftAlone) {
  readyResult = fail(Stage::readiness, Reason::invalid, "the pod's address is not known");
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return readyQuestions >= 3; }));
  ASSERT_TRUE(reaches(State::started));
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  ASSERT_TRUE(recoveries->incidents()[0].error) << "the status must show that readiness is unknown";
  EXPECT_EQ(recoveries->incidents()[0].error->message(),
            "readiness: invalid: the pod's address is not known");
  readyResult = {};
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_FALSE(recoveries->incidents()[0].error);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AnUnprobeableLivenessRestartsNothing) {
  liveness.emplace();
  liveness->interval = 1ms;
  liveness->failures = 2;
  deadReason = Reason::unavailable;
  deadAnswers = 10;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_TRUE(runUntil(loop, [&] { return questions >= 8; }));
  EXPECT_TRUE(recoveries->incidents()[0].error);
  EXPECT_EQ(launcher.launched.size(), 1U);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  ASSERT_TRUE(runUntil(loop, [&] { return !recoveries->incidents()[0].error; }));
}

TEST_F(RecoveryTest, ErrorsOfProbesAreNotShownForTheNextLaunch) {
  liveness.emplace();
  liveness->interval = 1ms;
  deadReason = Reason::unavailable;
  deadAnswers = 1000;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->incidents()[0].error.has_value(); }));
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return state() == State::verified; }));
  EXPECT_FALSE(recoveries->incidents()[0].error);
}

TEST_F(RecoveryTest, NothingBeginsOnceItStops) {
  stop(*recoveries);
  detect();
  clock.advance(loop, 1min);
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_TRUE(recoveries->incidents().empty());
}

TEST_F(RecoveryTest, NothingBeginsAfterBeginNothingAndFallbacksContinue) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->beginNothing();
  detect("s2");
  clock.advance(loop, 1min);
  EXPECT_EQ(launcher.launched.size(), 1U);
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  stop(*recoveries);
}

TEST_F(RecoveryTest, NothingIsQueriedOnceItStops) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  stop(*recoveries);
  const auto asked = runtime.calls;
  kubeletMakes("c1", "main", "r/toolbox:latest", "sha256:tool");
  clock.advance(loop, 1min);
  EXPECT_EQ(runtime.calls, asked) << "it must not query whose container it is";
}

TEST_F(RecoveryTest, APodOnTheHostsNetworkHasTheNodesNameAndAddress) {
  nodeAddresses = {"192.0.2.7", "2001:db8::7"};
  auto& status = runtime.sandboxes.at("s1");
  status.network = cri::NamespaceMode::node;
  status.ips.clear();
  status.hostname.clear();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  const auto& sandbox = launcher.launched[0]->request.sandbox;
  EXPECT_EQ(sandbox.ips, nodeAddresses);
  EXPECT_EQ(sandbox.hostname, "node-1");
  ASSERT_TRUE(askedAt);
  EXPECT_EQ(askedAt->ip, "192.0.2.7");
  EXPECT_EQ(recoveries->incidents()[0].podIp, "192.0.2.7");
}

}  // namespace
}  // namespace fallbackd::recovery
