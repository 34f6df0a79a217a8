// SPDX-License-Identifier: Apache-2.0
// imagePullPolicy Always: kubelet pulls again after a stand-in, and backs off from that after failed pulls.
#include "stand_in_fixture.hpp"

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using test::runUntil;
using testing::HasSubstr;
using Settled = Settlement::State;

struct SettlingPulls : StandInFixture {
  SettlingPulls() { pullPolicy = config::PullPolicy::always; }
};

TEST_F(SettlingPulls, AStandInStaysUntilKubeletsBackOffIsOver) {
  settles();
  pulled();
  clock.advance(loop, 14s);  // kubelet may have pulled up to 5 s after the stand-in's start
  EXPECT_EQ(settled(), Settled::settled);
  EXPECT_THAT(why(), HasSubstr("its image can be pulled, but kubelet"));
  clock.advance(loop, 2s);
  EXPECT_EQ(settled(), Settled::leaving);
  EXPECT_TRUE(standIns.made[0]->removed);
}

TEST_F(SettlingPulls, AnotherNamespacesPasswordSaysNothing) {
  settles();
  clock.advance(loop, 20s);
  auto chosen = configured()->workloads[0];
  chosen.match.namespaceName = "other";
  chosen.imageFrom = Provenance::annotation;
  watcher::Verdict verdict;
  verdict.kind = watcher::Verdict::Kind::pulled;
  verdict.withCredentials = true;
  recoveries->probed(chosen, verdict);
  clock.advance(loop, 5s);
  EXPECT_EQ(settled(), Settled::settled) << "kubelet may not be able to pull it for this pod";
  verdict.withCredentials = false;
  recoveries->probed(chosen, verdict);
  EXPECT_TRUE(runUntil(loop, [&] { return settled() == Settled::leaving; }));
}

TEST_F(SettlingPulls, TheBackOffIsOverAfterALongOutage) {
  settles();
  clock.advance(loop, 20s);
  pulled();
  EXPECT_TRUE(runUntil(loop, [&] { return settled() == Settled::leaving; }));
}

TEST_F(SettlingPulls, APodThatHadWaitedForLongMayBackOffForLong) {
  runtime.sandboxes["s1"].sandbox.createdAt = clock.wall() - 40s;
  settles();
  pulled();
  clock.advance(loop, 44s);  // pulls at 0, 10 and 30 s: the back-off lasts 40 s after the last possible pull
  EXPECT_EQ(settled(), Settled::settled);
  clock.advance(loop, 2s);
  EXPECT_EQ(settled(), Settled::leaving) << why();
}

TEST_F(SettlingPulls, AHungPullMayFailLater) {
  cause = Cause::timeout;
  settles();
  pulled();
  clock.advance(loop, 39s);
  EXPECT_EQ(settled(), Settled::settled);
  clock.advance(loop, 32s);
  EXPECT_EQ(settled(), Settled::leaving);
}

TEST_F(SettlingPulls, ARegistryThatFailsAgainKeepsIt) {
  settles();
  pulled();
  clock.advance(loop, 10s);
  fails();
  clock.advance(loop, 1min);
  EXPECT_EQ(settled(), Settled::settled) << "kubelet would fail to pull";
  EXPECT_EQ(why(), "a stand-in runs");
  pulled();
  EXPECT_TRUE(runUntil(loop, [&] { return settled() == Settled::leaving; }));
}

/// Another workload's pull found the failure. As long as that circuit is open, this image is not probed.
TEST_F(SettlingPulls, AFailureThatIsKnownThroughAnotherImageKeepsItToo) {
  settles();
  pulled();
  clock.advance(loop, 10s);
  detect();
  clock.advance(loop, 1min);
  EXPECT_EQ(settled(), Settled::settled) << "kubelet would fail to pull";
  EXPECT_EQ(why(), "a stand-in runs");
  EXPECT_EQ(recoveries->incidents().size(), 1U);
}

TEST_F(SettlingPulls, AWaitingStandInStopsReportingThatItsImageCanBePulled) {
  runtime.addSandbox("s2", "shop", "checkout");
  detect("s1");
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return standIns.made.size() == 2; }));
  clock.advance(loop, 8min);  // it is unknown how long the second sandbox has waited
  const auto waits = [&]() -> std::string {
    for (const auto& one : recoveries->incidents()) {
      if (one.settlement && one.settlement->state == Settled::settled) return one.settlement->why;
    }
    return "";
  };
  pulled();
  clock.advance(loop, 2s);
  ASSERT_THAT(waits(), HasSubstr("other pods of its workload make way first"));
  fails();
  clock.advance(loop, 1s);
  EXPECT_EQ(waits(), "a stand-in runs");
}

TEST_F(SettlingPulls, AContainerThatIsHeldUpSaysNothingOfItsRegistry) {
  settles();
  pulled();
  clock.advance(loop, 10s);
  cause = Cause::not_started;
  detect();
  clock.advance(loop, 10s);
  EXPECT_EQ(settled(), Settled::leaving);
}

TEST_F(SettlingPulls, AnImageThatIsBroughtOtherwiseIsNotEnough) {
  settles();
  runtime.images.insert("r/checkout:1");
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 2min);
  EXPECT_EQ(settled(), Settled::settled) << "kubelet queries the registry nevertheless";
}

TEST_F(SettlingPulls, WithAnyOtherPolicyItMakesWayAtOnce) {
  pullPolicy = config::PullPolicy::if_not_present;
  settles();
  pulled();
  EXPECT_TRUE(runUntil(loop, [&] { return settled() == Settled::leaving; }));
}

/// It is unknown when the stand-in was made: kubelet may have pulled until just before.
TEST_F(SettlingPulls, TheNextDaemonAssumesTheLongestThatFits) {
  settles();
  clock.advance(loop, 2min);
  stop(*recoveries);
  standIns.earlier = true;
  recoveries.emplace(*services, configured());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return settled() == Settled::settled; }));
  pulled();
  clock.advance(loop, 79s);
  EXPECT_EQ(settled(), Settled::settled);
  clock.advance(loop, 2s);
  EXPECT_EQ(settled(), Settled::leaving);
}

}  // namespace
}  // namespace fallbackd::recovery
