// SPDX-License-Identifier: Apache-2.0
#include "recovery/hand_back_gap.hpp"

#include "telemetry/metrics.hpp"

#include <gtest/gtest.h>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;

struct HandBackGapTest : testing::Test {
  static Incident incident(const std::string& id = "0123456789ab") {
    Incident one;
    one.id = id;
    one.target = {"s1", "uid-s1", "shop", "checkout", "main"};
    one.workload = "checkout";
    return one;
  }
  void ends(Stamp at, State state = State::handed_back) {
    auto one = incident();
    one.state = state;
    one.stamps.ended = at;
    gap.ended(one);
  }
  bool measured(const std::string& count, const std::string& sum) const {
    const auto text = metrics.serialize();
    const auto has = [&](const std::string& line) { return text.find(line) != std::string::npos; };
    return has(R"(fallbackd_hand_back_gap_seconds_count{workload="checkout"} )" + count + "\n") &&
           has(R"(fallbackd_hand_back_gap_seconds_sum{workload="checkout"} )" + sum + "\n");
  }
  bool unmeasured() const {
    return metrics.serialize().find("fallbackd_hand_back_gap_seconds_count") == std::string::npos;
  }

  telemetry::Metrics metrics{"test"};
  HandBackGap gap{metrics.recovery};
  Stamp now{100s};
};

TEST_F(HandBackGapTest, IsFromTheEndOfTheFallbackToTheStartOfTheContainer) {
  gap.asked(incident(), "c1");
  ends(now);
  gap.containerStarted("c2", now + 1s);
  EXPECT_TRUE(unmeasured());
  gap.containerStarted("c1", now + 2s);
  gap.containerStarted("c1", now + 4s);
  EXPECT_TRUE(measured("1", "2"));
}

TEST_F(HandBackGapTest, IsZeroForAContainerThatStartedBeforeTheFallbackEnded) {
  gap.asked(incident(), "c1");
  gap.containerStarted("c1", now);
  gap.asked(incident(), "c1");  // a list reports the container again
  EXPECT_TRUE(unmeasured());
  ends(now + 1s);
  EXPECT_TRUE(measured("1", "0"));
}

TEST_F(HandBackGapTest, DoesNotBeginWithTheCleanUp) {
  gap.asked(incident(), "c1");
  gap.containerStarted("c1", now + 1s);
  auto one = incident();
  one.state = State::handed_back;
  one.stamps.stopped = now;
  one.stamps.ended = now + 4s;
  gap.ended(one);
  EXPECT_TRUE(measured("1", "1"));
}

TEST_F(HandBackGapTest, IsNotMeasuredIfTheRecoveryEndedForAnotherReason) {
  gap.asked(incident(), "c1");
  ends(now, State::pod_gone);
  gap.containerStarted("c1", now + 1s);
  EXPECT_TRUE(unmeasured());
}

TEST_F(HandBackGapTest, IsMeasuredForTheLatestContainer) {
  gap.asked(incident(), "c1");
  gap.containerStarted("c1", now);
  gap.asked(incident("ba9876543210"), "c2");
  ends(now + 1s);
  EXPECT_TRUE(unmeasured());
  gap.containerStarted("c2", now + 2s);
  EXPECT_TRUE(measured("1", "1"));
}

}  // namespace
}  // namespace fallbackd::recovery
