// SPDX-License-Identifier: Apache-2.0
// Measurements and status of a fallback with a stand-in end with the fallback's process: the clean-up of the
// stand-in is not part of them.
#include "stand_in_fixture.hpp"

#include <csignal>

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using test::runUntil;
using testing::HasSubstr;

constexpr double kClose = 0.001;

struct SettledHandBack : StandInFixture {
  double valueOf(const std::string& series) const {
    const auto text = metrics.serialize();
    const auto found = text.find("\n" + series + " ");
    return found == std::string::npos ? -1 : std::stod(text.substr(found + series.size() + 2));
  }
  double gap() const { return valueOf(R"(fallbackd_hand_back_gap_seconds_sum{workload="checkout"})"); }
  double served() const { return valueOf(R"(fallbackd_fallback_seconds_total{workload="checkout"})"); }
  double since(Stamp begin) const { return std::chrono::duration<double>(clock.now() - begin).count(); }
  Stamp ready() const { return *recoveries->incidents()[0].stamps.ready; }
  void adopt() { clock.advance(loop, 6s); }
};

TEST_F(SettledHandBack, TheGapBeginsWithTheEndOfTheProcess) {
  settles();
  standIns.removalTakes = 2s;
  launcher.launched[0]->drains = 1min;  // longer than the grace
  kubeletMakes("c1", "main");
  clock.advance(loop, 50ms);
  const auto whole = since(ready());
  clock.advance(loop, 40ms);
  recoveries->containerStarted("c1", clock.now());
  clock.advance(loop, 1s);
  EXPECT_NE(state(), State::ready) << "its process has ended";
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
  EXPECT_NEAR(served(), whole, kClose);
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_NEAR(gap(), 0.040, kClose);
  EXPECT_NEAR(served(), whole, kClose);
  const auto millis = std::to_string(static_cast<int>(whole * 1000));
  EXPECT_THAT(podEvents.events.back().message, HasSubstr("it had served for " + millis + " ms"));
}

/// If no process is left to stop, the fallback's end is the time when the container came.
TEST_F(SettledHandBack, TheGapOfOneThatDiedBeforeHasNoCleanUpInIt) {
  settles();
  restartPolicy = config::RestartPolicy::always;
  for (int i = 0; i < 9; ++i) launcher.failures.push_back({Stage::spawner, Reason::system, EAGAIN, "clone"});
  launcher.launched[0]->die(Kind::signaled, SIGSEGV);
  clock.advance(loop, 500ms);
  ASSERT_EQ(launcher.launched.size(), 1U);
  standIns.removalTakes = 2s;
  kubeletMakes("c1", "main");
  clock.advance(loop, 90ms);
  recoveries->containerStarted("c1", clock.now());
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_NEAR(gap(), 0.090, kClose);
}

TEST_F(SettledHandBack, OneThatDiesServesNoMoreWhileItsStandInEnds) {
  settles();
  standIns.made[0]->exitTakes = 2s;
  const auto whole = since(ready());
  launcher.launched[0]->die(Kind::signaled, SIGSEGV);
  clock.advance(loop, 1s);
  ASSERT_FALSE(standIns.made[0]->exitCode);
  EXPECT_NE(state(), State::ready);
  EXPECT_EQ(recoveries->incidents()[0].pid, 0);
  EXPECT_NEAR(served(), whole, kClose);
  EXPECT_THAT(podEvents.reasons, testing::Contains("FallbackExited"));
}

TEST_F(SettledHandBack, OneThatKubeletEndsServesNoMoreWhileItsStandInEnds) {
  settles();
  adopt();
  standIns.made[0]->exitTakes = 2s;
  const auto whole = since(ready());
  standIns.made[0]->send(SIGTERM);
  clock.advance(loop, 1s);
  ASSERT_FALSE(standIns.made[0]->exitCode);
  EXPECT_NE(state(), State::ready);
  EXPECT_NEAR(served(), whole, kClose);
}

TEST_F(SettledHandBack, OneThatFailsItsProbesServesNoMoreWhileItsStandInEnds) {
  liveness.emplace();
  liveness->interval = 7s;
  liveness->failures = 1;
  deadAnswers = 1;
  settles();
  standIns.made[0]->exitTakes = 2s;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched[0]->stoppedWithGrace.has_value(); }));
  const auto whole = since(ready());
  clock.advance(loop, 1s);
  ASSERT_FALSE(standIns.made[0]->exitCode);
  EXPECT_NE(state(), State::ready);
  EXPECT_NEAR(served(), whole, kClose);
}

TEST_F(SettledHandBack, OneWhosePodGoesServesNoMoreWhileItsStandInEnds) {
  settles();
  standIns.made[0]->exitTakes = 2s;
  const auto whole = since(ready());
  recoveries->sandboxGone("s1");
  clock.advance(loop, 1s);
  EXPECT_NE(state(), State::ready);
  EXPECT_NEAR(served(), whole, kClose);
  ASSERT_TRUE(reaches(State::pod_gone));
}

TEST_F(SettledHandBack, AStandInThatMadeWayIsNotLookedForAgain) {
  settles();
  adopt();
  recoveries->imageArrived("r/checkout:1");
  ASSERT_TRUE(runUntil(loop, [&] { return settled() == Settlement::State::leaving; }));
  const auto removals = standIns.removals;
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(standIns.removals, removals);
  EXPECT_EQ(settled(), std::nullopt) << "it is no longer leaving";
}

}  // namespace
}  // namespace fallbackd::recovery
