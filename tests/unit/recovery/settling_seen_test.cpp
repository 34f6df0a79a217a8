// SPDX-License-Identifier: Apache-2.0
// When Kubernetes shows the fallback: each step appears in a metric and in the status.
#include "stand_in_fixture.hpp"

namespace fallbackd::recovery {
namespace {

struct SettlingSeen : StandInFixture {
  /// Lets a source describe the pod.
  void describe(const std::string& running, bool ready, const std::string& told = "uid-s1") {
    auto pod = test::podOf("r/checkout:1");
    if (!running.empty()) pod.running["main"] = running;
    pod.ready = ready;
    specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(std::move(pod));
    recoveries->podDescribed(told);
  }
  Stamps stamps() const { return recoveries->incidents()[0].stamps; }
  bool counted(const std::string& phase) const {
    return metric("fallbackd_stand_in_seconds_count{phase=\"" + phase + "\",workload=\"checkout\"} 1");
  }
};

TEST_F(SettlingSeen, EachStepIsStampedOnce) {
  settles();
  EXPECT_TRUE(stamps().standIn);
  EXPECT_TRUE(counted("whole"));
  describe("", false);
  EXPECT_FALSE(stamps().adopted);
  clock.advance(loop, 300ms);
  describe(standIns.made[0]->id, false);
  clock.advance(loop, 20ms);
  describe(standIns.made[0]->id, true);
  clock.advance(loop, 1s);
  describe(standIns.made[0]->id, true);
  EXPECT_EQ(*stamps().adopted - *stamps().standIn, 300ms);
  EXPECT_EQ(*stamps().podReady - *stamps().standIn, 320ms);
  EXPECT_TRUE(counted("adopted"));
  EXPECT_TRUE(counted("pod_ready"));
}

TEST_F(SettlingSeen, AListDescribesEveryPod) {
  settles();
  describe(standIns.made[0]->id, true, "");
  EXPECT_TRUE(stamps().podReady);
}

TEST_F(SettlingSeen, AnotherContainerOfTheNameIsNotIt) {
  settles();
  describe("of-a-stranger", true);
  EXPECT_FALSE(stamps().adopted);
  EXPECT_FALSE(stamps().podReady);
}

}  // namespace
}  // namespace fallbackd::recovery
