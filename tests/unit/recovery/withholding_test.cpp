// SPDX-License-Identifier: Apache-2.0
// Recoveries that do not begin: paused, or only observed.
#include "recovery_fixture.hpp"

#include <string>

namespace fallbackd::recovery {
namespace {

using test::runUntil;

config::Pause pauseOf(const std::string& namespaceName) {
  config::Pause pause;
  pause.namespaces[namespaceName] = {{}, "a bad day"};
  return pause;
}

TEST_F(RecoveryTest, APauseStartsNothingNewAndLetsRunningOnesGoOn) {
  runtime.addSandbox("s2", "shop", "cart");
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->pause(pauseOf("shop"));
  detect("s2");
  detect("s2");
  launcher.launched[0]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }))
      << "the running fallback restarts";
  ASSERT_EQ(recoveries->withholding().all().size(), 1U);
  const auto one = recoveries->withholding().all()[0];
  EXPECT_EQ(one.by, Withheld::By::pause);
  EXPECT_EQ(one.target.sandboxId, "s2");
  EXPECT_EQ(recoveries->incidents().size(), 1U);

  recoveries->pause({});
  EXPECT_TRUE(recoveries->withholding().all().empty());
  detect("s2");
  EXPECT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 3; }));
}

TEST_F(RecoveryTest, APauseOfAnotherNamespaceDoesNotCount) {
  recoveries->pause(pauseOf("bank"));
  detect();
  EXPECT_TRUE(reaches(State::ready));
}

TEST_F(RecoveryTest, APauseOfTheNodeCountsEverywhere) {
  config::Pause pause;
  pause.node = config::Pause::Order{{}, "maintenance"};
  recoveries->pause(pause);
  detect();
  EXPECT_EQ(recoveries->withholding().all().size(), 1U);
  EXPECT_TRUE(recoveries->incidents().empty());
}

TEST_F(RecoveryTest, ObservingDecidesAndStartsNothing) {
  mode = config::Mode::observe;
  detect();
  ASSERT_TRUE(
      runUntil(loop, [&] { return recoveries->withholding().all().at(0).wouldStartAfter.has_value(); }));
  const auto one = recoveries->withholding().all()[0];
  EXPECT_EQ(one.by, Withheld::By::observe);
  EXPECT_EQ(one.binary.toString(), "checkout@1.8.3");
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_TRUE(recoveries->incidents().empty());
  EXPECT_EQ(journalled(), 0U);
  kubeletMakes("c1", "main");
  EXPECT_TRUE(recoveries->withholding().all().empty());
}

/// An observed pod for which the decision has been made.
struct Observed : RecoveryTest {
  Observed() { mode = config::Mode::observe; }
  void observe() {
    detect();
    ASSERT_TRUE(runUntil(loop, [&] { return countedAs(1); }));
  }
  /// Detects the pod again at the next look.
  void detectAgain() {
    detect();
    clock.advance(loop, 1s);
  }
  [[nodiscard]] bool countedAs(int times) const {
    return metric(R"(fallbackd_observed_total{result="would_start",workload="checkout"} )" +
                  std::to_string(times) + "\n");
  }
};

TEST_F(Observed, APauseOfAnotherNamespaceDecidesNothingAgain) {
  ASSERT_NO_FATAL_FAILURE(observe());
  const auto told = podEvents.reasons.size();
  recoveries->pause(pauseOf("bank"));
  EXPECT_EQ(recoveries->withholding().all().size(), 1U);
  detectAgain();
  EXPECT_TRUE(countedAs(1));
  EXPECT_EQ(podEvents.reasons.size(), told);
}

TEST_F(Observed, APauseOfItsNamespaceShows) {
  ASSERT_NO_FATAL_FAILURE(observe());
  recoveries->pause(pauseOf("shop"));
  detectAgain();
  EXPECT_EQ(recoveries->withholding().all().at(0).by, Withheld::By::pause);
  EXPECT_FALSE(recoveries->withholding().all()[0].wouldStartAfter);
}

TEST_F(Observed, AnotherConfigurationWithTheSameWorkloadDecidesNothingAgain) {
  ASSERT_NO_FATAL_FAILURE(observe());
  const auto told = podEvents.reasons.size();
  recoveries->reconfigure(makeConfig());
  EXPECT_TRUE(recoveries->withholding().all().empty()) << "the pod may no longer have a workload";
  detectAgain();
  EXPECT_TRUE(countedAs(1));
  EXPECT_EQ(podEvents.reasons.size(), told);
  EXPECT_TRUE(recoveries->withholding().all().at(0).wouldStartAfter);
}

TEST_F(Observed, AnotherBinaryIsAnotherDecision) {
  ASSERT_NO_FATAL_FAILURE(observe());
  recoveries->reconfigure(makeConfig());
  binary.version = "1.8.4";
  detectAgain();
  EXPECT_TRUE(countedAs(2));
  EXPECT_EQ(recoveries->withholding().all().at(0).binary.toString(), "checkout@1.8.4");
}

TEST_F(Observed, AnotherConfigurationMayDecideOtherwise) {
  ASSERT_NO_FATAL_FAILURE(observe());
  recoveries->reconfigure(makeConfig());
  binaries.refusal = Error{Stage::admission, Reason::expired, 0, "it expired"};
  detectAgain();
  EXPECT_TRUE(recoveries->withholding().all().at(0).refused);
  EXPECT_FALSE(recoveries->withholding().all()[0].wouldStartAfter);
}

TEST_F(Observed, WhatIsNotObservedAnyMoreStarts) {
  ASSERT_NO_FATAL_FAILURE(observe());
  recoveries->reconfigure(makeConfig());
  mode = config::Mode::recover;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_TRUE(recoveries->withholding().all().empty());
}

TEST_F(RecoveryTest, APauseIsReportedOnceDespiteOtherOrders) {
  recoveries->pause(pauseOf("shop"));
  detect();
  const auto told = podEvents.reasons.size();
  auto both = pauseOf("shop");
  both.namespaces["bank"] = {{}, "another bad day"};
  recoveries->pause(both);
  recoveries->reconfigure(makeConfig());
  detect();
  EXPECT_EQ(podEvents.reasons.size(), told);
  EXPECT_EQ(recoveries->withholding().all().size(), 1U);
  recoveries->pause(pauseOf("bank"));
  detect();
  EXPECT_TRUE(reaches(State::ready));
}

TEST_F(RecoveryTest, ObservingReportsWhyNothingWouldHaveStarted) {
  mode = config::Mode::observe;
  binaries.refusal = Error{Stage::admission, Reason::expired, 0, "it expired"};
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->withholding().all().at(0).refused.has_value(); }));
  EXPECT_FALSE(recoveries->withholding().all()[0].wouldStartAfter);
  binaries.refusal.reset();
  detect();
  EXPECT_TRUE(runUntil(loop, [&] {
    return recoveries->withholding().all().at(0).wouldStartAfter.has_value();
  })) << "a binary that was installed in the meantime counts";
  EXPECT_FALSE(recoveries->withholding().all()[0].refused);
  recoveries->sandboxGone("s1");
  EXPECT_TRUE(recoveries->withholding().all().empty());
}

}  // namespace
}  // namespace fallbackd::recovery
