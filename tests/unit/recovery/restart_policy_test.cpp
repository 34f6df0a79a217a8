// SPDX-License-Identifier: Apache-2.0
// Work that ends: what is run again, what is not, and what the next daemon knows about it.
#include "recovery_fixture.hpp"

namespace fallbackd::recovery {
namespace {

using config::RestartPolicy;
using test::runUntil;

TEST_F(RecoveryTest, ExitCodeZeroCompletesAJobAndItIsNotRunAgain) {
  for (const auto policy : {RestartPolicy::on_failure, RestartPolicy::never}) {
    const auto before = launcher.launched.size();
    const std::string sandbox = policy == RestartPolicy::never ? "s2" : "s1";
    runtime.addSandbox(sandbox, "shop", "checkout");
    restartPolicy = policy;
    detect(sandbox);
    ASSERT_TRUE(reaches(State::ready));
    launcher.launched.back()->die(Kind::exited, 0);
    ASSERT_TRUE(reaches(State::completed));
    EXPECT_TRUE(launcher.launched.back()->stoppedWithGrace) << "its cgroup and logs are cleaned up";
    detect(sandbox);
    detect(sandbox);
    EXPECT_EQ(launcher.launched.size(), before + 1);
    EXPECT_EQ(recoveries->incidents().size(), before + 1) << "no recovery begins";
  }
  EXPECT_TRUE(metric(R"(outcome="completed",reason="",stage="",workload="checkout"} 2)"));
}

TEST_F(RecoveryTest, OnFailureRunsAgainAfterAFailureAndNeverDoesNot) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[1]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));

  runtime.addSandbox("s2", "shop", "checkout");
  restartPolicy = RestartPolicy::never;
  detect("s2");
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[2]->die(Kind::signaled, 11);
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_EQ(recoveries->incidents()[0].error->reason, Reason::signaled);
  detect("s2");
  EXPECT_EQ(launcher.launched.size(), 3U);
}

/// kubelet makes a new sandbox after the pause process died, while the fallback in the old sandbox still
/// stops.
TEST_F(RecoveryTest, ANewSandboxOfThePodWaitsForTheEndInTheOldOne) {
  for (const auto policy : {RestartPolicy::always, RestartPolicy::never}) {
    restartPolicy = policy;
    const bool again = policy == RestartPolicy::always;
    const std::string pod = again ? "s1" : "s2";
    runtime.addSandbox(pod, "shop", "checkout");
    runtime.addSandbox(pod + "b", "shop", "checkout");
    runtime.sandboxes[pod + "b"].sandbox.podUid = "uid-" + pod;
    const auto before = launcher.launched.size();
    detect(pod);
    ASSERT_TRUE(reaches(State::ready));
    launcher.launched.back()->drains = 2s;
    recoveries->sandboxGone(pod);
    detect(pod + "b");
    clock.advance(loop, 1s);
    EXPECT_EQ(launcher.launched.size(), before + 1) << "the old fallback has not ended";
    ASSERT_TRUE(reaches(State::pod_gone));
    detect(pod + "b");
    clock.advance(loop, 1s);
    EXPECT_EQ(launcher.launched.size(), before + (again ? 2 : 1));
    recoveries->sandboxGone(pod + "b");
    clock.advance(loop, 5s);
  }
}

TEST_F(RecoveryTest, AStatusThatIsLateIsWaitedForWhereItDecides) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->lateStatus = launcher::ExitStatus{Kind::exited, 1};
  launcher.launched[0]->die(Kind::unknown, 0);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }))
      << "the late status is a failure";
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[1]->lateStatus = launcher::ExitStatus{Kind::exited, 0};
  launcher.launched[1]->die(Kind::unknown, 0);
  ASSERT_TRUE(reaches(State::completed));

  runtime.addSandbox("s2", "shop", "checkout");
  restartPolicy.reset();
  detect("s2");
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[2]->die(Kind::unknown, 0);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 4; }));
  EXPECT_EQ(launcher.launched[2]->lateQuestions, 0) << "it runs again whatever its status is";
}

TEST_F(RecoveryTest, TheNextDaemonDoesNotRunCompletedWork) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));
  Recoveries next(*services, makeConfig());
  boost::asio::co_spawn(loop, next.adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return !next.incidents().empty(); }));
  EXPECT_EQ(next.incidents()[0].state, State::completed);
  EXPECT_EQ(launcher.adoptions, 0);
  watcher::Detection detection;
  detection.sandbox = runtime.sandboxes["s1"].sandbox;
  const auto config = makeConfig();
  detection.workload = watcher::WorkloadPtr(config, &config->workloads[0]);
  next.detected(std::move(detection));
  EXPECT_EQ(next.incidents().size(), 1U);
  runtime.sandboxes.clear();  // the pod is deleted
  next.connection(true, "");
  EXPECT_TRUE(runUntil(loop, [&] { return journalled() == 0; })) << "the journal must not grow for ever";
  stop(next);
}

/// A full disk, for example.
TEST_F(RecoveryTest, CompletedWorkIsRecordedOnceTheJournalCanBeWritten) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  const auto inTheWay = folder + "/journal/." + recoveries->incidents()[0].id + ".json.new";
  std::filesystem::create_directory(inTheWay);
  launcher.launched[0]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));
  ASSERT_EQ(journalled(), 1U) << "the entry of its process tells the next daemon that it ran";
  EXPECT_FALSE(journal->read()->entries[0].incident.neverAgain);
  std::filesystem::remove(inTheWay);
  clock.advance(loop, 1min);
  ASSERT_EQ(journalled(), 1U);
  EXPECT_TRUE(journal->read()->entries[0].incident.neverAgain);
  EXPECT_EQ(journal->read()->entries[0].incident.state, State::completed);
}

TEST_F(RecoveryTest, CompletedWorkIsForgottenWhenItsPodIsRemovedLater) {
  restartPolicy = RestartPolicy::never;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));
  runtime.sandboxes["s1"].sandbox.ready = false;
  const auto calls = runtime.calls;
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > calls; }));
  EXPECT_EQ(journalled(), 1U) << "the sandbox still exists";
  runtime.sandboxes.clear();
  EXPECT_TRUE(runUntil(loop, [&] { return journalled() == 0; }));
}

TEST_F(RecoveryTest, WorkThatMayHaveCompletedWithoutADaemonIsNotRunAgain) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.adoptable = false;
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->workloads[0].restart.policy = restartPolicy;
  Recoveries next(*services, config);
  boost::asio::co_spawn(loop, next.adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return !next.incidents().empty(); }));
  EXPECT_EQ(next.incidents()[0].state, State::failed);
  EXPECT_TRUE(next.incidents()[0].neverAgain);
  ASSERT_EQ(journalled(), 1U) << "a third daemon must know it, too";
  EXPECT_TRUE(journal->read()->entries[0].incident.neverAgain);
  stop(next);
}

}  // namespace
}  // namespace fallbackd::recovery
