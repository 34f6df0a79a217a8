// SPDX-License-Identifier: Apache-2.0
// Recoveries that do not begin: paused, or only observed.
#include "recovery_fixture.hpp"

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
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; })) << "the running one restarts";
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

TEST_F(RecoveryTest, ObservingTellsWhyNothingWouldHaveStarted) {
  mode = config::Mode::observe;
  binaries.refusal = Error{Stage::admission, Reason::expired, 0, "it expired"};
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->withholding().all().at(0).refused.has_value(); }));
  EXPECT_FALSE(recoveries->withholding().all()[0].wouldStartAfter);
  binaries.refusal.reset();
  detect();
  EXPECT_TRUE(runUntil(loop, [&] {
    return recoveries->withholding().all().at(0).wouldStartAfter.has_value();
  })) << "a binary that was installed meanwhile counts";
  EXPECT_FALSE(recoveries->withholding().all()[0].refused);
  recoveries->sandboxGone("s1");
  EXPECT_TRUE(recoveries->withholding().all().empty());
}

}  // namespace
}  // namespace fallbackd::recovery
