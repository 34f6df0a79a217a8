// SPDX-License-Identifier: Apache-2.0
// Probes that run a command of the fallback's binary: what their results mean, when they run, and what ends
// them.
#include "recovery_fixture.hpp"

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using test::runUntil;
using testing::ElementsAre;
using testing::HasSubstr;

struct CommandProbe : RecoveryTest {
  CommandProbe() { readyCommand = config::ReadyWhenCommand{{"/checkout", "ready"}, 2s, 5s}; }

  static Result<> bad(const std::string& why = "exit code 1") {
    return fail(Stage::readiness, Reason::not_ready, why);
  }
  static Result<> notAsked() { return fail(Stage::spawner, Reason::spawner_gone, "the spawner ended"); }
  void answer(int times, const Result<>& how) {
    for (int i = 0; i < times; ++i) launcher.probeAnswers.push_back(how);
  }
  void byCommandAlive() {
    readyCommand.reset();
    liveness.emplace();
    liveness->when = config::ReadyWhenCommand{{"/checkout", "alive"}, 1s, 2s};
    liveness->interval = 2s;
    liveness->timeout = 1s;
    liveness->failures = 3;
  }
  bool probed(std::size_t times) {
    return runUntil(loop, [&] { return launcher.probes.size() >= times; });
  }
};

TEST_F(CommandProbe, TheFallbackIsReadyWhenItsCommandSucceeds) {
  answer(3, bad());
  detect();
  ASSERT_TRUE(probed(1));
  EXPECT_EQ(state(), State::started);
  const auto& run = launcher.probes[0];
  EXPECT_THAT(run.argv, ElementsAre("/checkout", "ready"));
  EXPECT_EQ(run.timeout, 2s);
  EXPECT_EQ(run.like.recoveryId, launcher.launched.at(0)->request.recoveryId);
  EXPECT_EQ(run.like.sandbox.pausePid, 4242);
  EXPECT_EQ(run.like.executable, launcher.launched[0]->request.executable) << "the same sealed file";
  // The first run is immediate, the next ones follow after 1, 2 and 4 seconds, because each run is a process.
  clock.advance(loop, 999ms);
  EXPECT_EQ(launcher.probes.size(), 1U);
  clock.advance(loop, 1ms);
  EXPECT_EQ(launcher.probes.size(), 2U);
  clock.advance(loop, 2s);
  EXPECT_EQ(launcher.probes.size(), 3U);
  EXPECT_EQ(state(), State::started);
  clock.advance(loop, 4s);
  EXPECT_EQ(launcher.probes.size(), 4U);
  EXPECT_EQ(state(), State::ready);
  EXPECT_EQ(readyQuestions, 0) << "no request goes over the network";
}

TEST_F(CommandProbe, PausesGrowNoLongerThanThePeriodAndTheLastTryIsAtTheDeadline) {
  answer(100, bad("exit code 9"));
  detect();
  ASSERT_TRUE(probed(1));
  clock.advance(loop, 29s);
  // At 0, 1, 3, 7, 12, 17, 22 and 27 s.
  EXPECT_EQ(launcher.probes.size(), 8U);
  EXPECT_FALSE(launcher.launched.at(0)->stoppedWithGrace);
  clock.advance(loop, 1s);
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_EQ(launcher.probes.size(), 9U);
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
  const auto error = *recoveries->incidents()[0].error;
  EXPECT_EQ(error.reason, Reason::not_ready);
  EXPECT_THAT(error.message(), HasSubstr("30s: exit code 9"));
}

TEST_F(CommandProbe, ACommandThatCouldNotRunDecidesNothing) {
  answer(5, notAsked());
  detect();
  ASSERT_TRUE(probed(3));
  EXPECT_EQ(state(), State::started);
  EXPECT_TRUE(recoveries->incidents()[0].error) << "the error is shown";
  EXPECT_FALSE(launcher.launched.at(0)->stoppedWithGrace);
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_FALSE(recoveries->incidents()[0].error);
}

TEST_F(CommandProbe, LivenessRestartsAfterFailuresInARowAtTheProbesPace) {
  byCommandAlive();
  answer(2, bad());
  answer(1, {});
  answer(2, bad());
  answer(1, notAsked());
  answer(1, bad());
  detect();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_TRUE(launcher.probes.empty());
  clock.advance(loop, 10s);
  EXPECT_EQ(launcher.probes.size(), 5U);
  EXPECT_EQ(launcher.launched.size(), 1U) << "two failures in a row are not enough";
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.probes.size(), 7U) << "a probe that could not be run does not count";
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
  EXPECT_EQ(launcher.mostProbing, 1U);
}

TEST_F(CommandProbe, WhatCannotBeRunIsTriedNoMoreOftenThanEachSecond) {
  answer(100, notAsked());
  detect();
  ASSERT_TRUE(probed(1));
  clock.advance(loop, 999ms);
  EXPECT_EQ(launcher.probes.size(), 1U);
  clock.advance(loop, 1min);
  // After 1, 2 and 4 s, then every 5 s, its period.
  EXPECT_EQ(launcher.probes.size(), 14U);
}

TEST_F(CommandProbe, TwoPlacesTakeTurns) {
  answer(2, bad());
  detect();
  ASSERT_TRUE(probed(1));
  clock.advance(loop, 3s);
  ASSERT_EQ(launcher.probes.size(), 3U);
  EXPECT_EQ(launcher.probes[0].like.probePlace, 0U);
  EXPECT_EQ(launcher.probes[1].like.probePlace, 1U);
  EXPECT_EQ(launcher.probes[2].like.probePlace, 0U) << "there are two places, so at most two probes can hang";
}

TEST_F(CommandProbe, TheEndOfTheFallbackEndsTheProbe) {
  test::Gate never(loop);
  launcher.probeGate = &never;
  detect();
  ASSERT_TRUE(probed(1));
  EXPECT_EQ(launcher.probing, 1U);
  launcher.launched.at(0)->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  ASSERT_TRUE(probed(2));
  EXPECT_EQ(launcher.mostProbing, 1U);
}

TEST_F(CommandProbe, AProbeDoesNotDelayTheHandBack) {
  test::Gate never(loop);
  byCommandAlive();
  launcher.probeGate = &never;
  detect();
  ASSERT_TRUE(probed(1));
  const auto before = clock.now();
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(clock.now(), before);
  EXPECT_EQ(launcher.probing, 0U);
}

TEST_F(CommandProbe, EachLaunchIsProbedAsItWasLaunched) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.sandboxes.at("s1").hostname = "renamed";
  launcher.launched.at(0)->die(Kind::exited, 1);
  ASSERT_TRUE(probed(2));
  EXPECT_EQ(launcher.launched.size(), 2U);
  EXPECT_EQ(launcher.probes[1].like.sandbox.hostname, "renamed");
  EXPECT_EQ(launcher.probes[1].like.restartCount, 1U);
}

}  // namespace
}  // namespace fallbackd::recovery
