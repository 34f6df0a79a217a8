// SPDX-License-Identifier: Apache-2.0
// The Events that a recovery writes for its pod.
#include "caught_log.hpp"
#include "recovery_fixture.hpp"

#include <algorithm>
#include <string>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;
using test::runUntil;
using Told = std::vector<std::string>;

TEST_F(RecoveryTest, EventsReportEachTransition) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 3);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2 && state() == State::ready; }));
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(podEvents.reasons, (Told{"WaitsForImage", "FallbackServing", "FallbackExited", "FallbackServing",
                                     "FallbackHandedBack"}));
  EXPECT_EQ(podEvents.events[2].message, "Fallback checkout@1.8.3 ended: exit code 3");
  for (const auto& target : podEvents.targets) {
    EXPECT_EQ(target.podUid, "uid-s1");
    EXPECT_EQ(target.podNamespace, "shop");
    EXPECT_EQ(target.podName, "pod-s1");
    EXPECT_EQ(target.container, "main");
  }
}

TEST_F(RecoveryTest, EventsReportRefusals) {
  binaries.refusal = Error{Stage::admission, Reason::expired, 0, "since yesterday"};
  detect();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_EQ(podEvents.reasons, (Told{"WaitsForImage", "FallbackRefused"}));
  EXPECT_EQ(podEvents.events[1].series, "admission/expired");
}

TEST_F(RecoveryTest, EventsReportThatNothingIsStarted) {
  mode = config::Mode::observe;
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return podEvents.reasons.size() == 2; }));
  EXPECT_EQ(podEvents.reasons, (Told{"WaitsForImage", "FallbackObserved"}));
  detect();
  EXPECT_EQ(podEvents.reasons.size(), 2U) << "they are written once";
  mode.reset();
  config::Pause order;
  order.node = {std::chrono::sys_seconds(1s), "bad release"};
  recoveries->pause(order);
  detect();
  EXPECT_EQ(podEvents.reasons,
            (Told{"WaitsForImage", "FallbackObserved", "WaitsForImage", "FallbackPaused"}));
  EXPECT_EQ(podEvents.events.back().message,
            "Fallback checkout@1.8.3 is not started: recoveries are paused (bad release)");
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(RecoveryTest, EventsReportAnUnresponsiveFallback) {
  liveness = config::Liveness{};
  liveness->interval = 1ms;
  liveness->failures = 2;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  deadAnswers = 2;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(podEvents.reasons[2], "FallbackUnhealthy");
  EXPECT_EQ(std::count(podEvents.reasons.begin(), podEvents.reasons.end(), "FallbackUnhealthy"), 1)
      << "it is reported at the limit, not at each failure";
}

/// Problems that a watcher reports at each look, such as a kernel that cannot end connections.
TEST_F(RecoveryTest, WhatNeedsAttentionIsLoggedOnce) {
  log.reconfigure(config::LogFormat::json, config::LogLevel::warn);
  const test::CaughtLog caught;
  for (int look = 0; look < 3; ++look) recoveries->trouble("pulls that hang cannot be ended");
  recoveries->trouble("something else");
  EXPECT_EQ(caught.lines(), 2) << caught.text();
}

}  // namespace
}  // namespace fallbackd::recovery
