// SPDX-License-Identifier: Apache-2.0
// The view of pods and containers, without a runtime.
#include "watcher/pod_view.hpp"

#include "watcher/gone.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

Stamp at(std::chrono::seconds time) {
  return Stamp{} + time;
}

cri::Sandbox makeSandbox(const std::string& id, const std::string& uid = "uid") {
  cri::Sandbox one;
  one.id = id;
  one.podName = "web-0";
  one.podNamespace = "shop";
  one.podUid = uid;
  one.ready = true;
  one.labels = {{"app", "checkout"}};
  return one;
}

/// A container like those that kubelet creates.
cri::Container makeContainer(const std::string& id, const std::string& sandboxId, const std::string& name,
                             const std::string& uid = "uid") {
  cri::Container one;
  one.id = id;
  one.sandboxId = sandboxId;
  one.name = name;
  one.labels = {{"io.kubernetes.container.name", name}, {"io.kubernetes.pod.uid", uid}};
  one.annotations = {{"io.kubernetes.container.hash", "774ada0b"}};
  return one;
}

struct PodViewTest : testing::Test {
  config::Config config;
  PodView view{config};
};

TEST_F(PodViewTest, ASandboxIsAddedOnceAndUpdatedByAList) {
  EXPECT_EQ(view.find("s1"), nullptr);
  EXPECT_TRUE(view.addSandbox(makeSandbox("s1"), at(10s), at(5s)));
  auto changed = makeSandbox("s1");
  changed.labels = {{"app", "cart"}};
  EXPECT_FALSE(view.addSandbox(changed, at(20s), at(15s)));
  EXPECT_EQ(view.at("s1").sandbox.labels.at("app"), "checkout");
  EXPECT_EQ(view.updateSandbox(changed, at(30s)).sandbox.labels.at("app"), "cart");
  EXPECT_EQ(view.at("s1").seen, at(10s));
  EXPECT_EQ(view.at("s1").since, at(5s));
}

TEST_F(PodViewTest, TheStartOfThePauseProcessCorrectsTheTime) {
  EXPECT_FALSE(view.sandboxStarted("s1", at(1s)));
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  EXPECT_TRUE(view.sandboxStarted("s1", at(2s)));
  EXPECT_EQ(view.at("s1").since, at(2s));
}

TEST_F(PodViewTest, AnnotationsAreReadAndNotKept) {
  auto one = makeSandbox("s1");
  one.annotations = {{"fallbackd.io/binary.web", "web@2.0.0"}};
  view.addSandbox(one, at(1s), at(1s));
  EXPECT_TRUE(view.at("s1").sandbox.annotations.empty());
  ASSERT_EQ(view.at("s1").choices.choices.size(), 1U);
  EXPECT_EQ(view.at("s1").choices.choices[0].container, "web");
  cri::SandboxStatus status;
  status.sandbox = one;
  view.setStatus("s1", status, at(2s));
  ASSERT_TRUE(view.at("s1").status);
  EXPECT_TRUE(view.at("s1").status->sandbox.annotations.empty());
}

TEST_F(PodViewTest, AStatusOfASandboxThatIsNotReadyOrNotKnownIsIgnored) {
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  cri::SandboxStatus status;
  status.sandbox = makeSandbox("s1");
  status.sandbox.ready = false;
  view.setStatus("s1", status, at(2s));
  EXPECT_FALSE(view.at("s1").status);
  status.sandbox.ready = true;
  view.setStatus("s2", status, at(2s));
  EXPECT_EQ(view.find("s2"), nullptr);
}

TEST_F(PodViewTest, OfTooManyLabelsThoseThatWorkloadsChooseByAreKept) {
  config::Workload workload;
  workload.match.labels = {{"app", "checkout"}};
  config.workloads.push_back(workload);
  view.reconfigure(config);
  auto one = makeSandbox("s1");
  for (int i = 0; i < 1000; ++i) one.labels["label" + std::to_string(i)] = std::string(60, 'x');
  one.labels["job-name"] = "migrate";
  view.addSandbox(one, at(1s), at(1s));
  const cri::Labels kept{{"app", "checkout"}, {"job-name", "migrate"}};
  EXPECT_EQ(view.at("s1").sandbox.labels, kept);
  cri::SandboxStatus status;
  status.sandbox = one;
  view.setStatus("s1", status, at(2s));
  ASSERT_TRUE(view.at("s1").status);
  EXPECT_EQ(view.at("s1").status->sandbox.labels, kept)
      << "the status must not keep a second copy of the others";
}

TEST_F(PodViewTest, OnlyKubeletsContainersCountAndEachOnce) {
  EXPECT_FALSE(view.addContainer("s1", makeContainer("c1", "s1", "web"), at(1s))) << "no such sandbox";
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  auto foreign = makeContainer("c0", "s1", "web");
  foreign.annotations.clear();
  EXPECT_FALSE(view.addContainer("s1", foreign, at(2s)));
  EXPECT_FALSE(view.addContainer("s1", makeContainer("c0", "s1", "web", "other"), at(2s)));
  EXPECT_THAT(view.at("s1").made(), IsEmpty());
  EXPECT_TRUE(view.addContainer("s1", makeContainer("c1", "s1", "web"), at(2s)));
  EXPECT_FALSE(view.addContainer("s1", makeContainer("c1", "s1", "web"), at(3s)));
  EXPECT_THAT(view.at("s1").made(), ElementsAre("web"));
  EXPECT_TRUE(view.hasContainer("c1"));
  EXPECT_FALSE(view.hasContainer("c0"));
}

TEST_F(PodViewTest, ADroppedContainerIsRememberedByItsNameOnly) {
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  view.addContainer("s1", makeContainer("c1", "s1", "web"), at(2s));
  EXPECT_EQ(view.dropContainer("c1"), "s1");
  EXPECT_EQ(view.dropContainer("c1"), std::nullopt);
  EXPECT_THAT(view.at("s1").made(), IsEmpty());
  EXPECT_THAT(view.at("s1").everMade, ElementsAre("web"));
}

TEST_F(PodViewTest, ADroppedSandboxTakesItsContainersAlong) {
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  view.addContainer("s1", makeContainer("c1", "s1", "web"), at(2s));
  EXPECT_TRUE(view.dropSandbox("s1"));
  EXPECT_FALSE(view.dropSandbox("s1"));
  EXPECT_FALSE(view.hasContainer("c1"));
  EXPECT_EQ(view.containerExited("c1", 0, at(3s)), std::nullopt);
}

TEST_F(PodViewTest, AContainerBelongsToTheSandboxThatItNamesElseToTheNewestOfItsPod) {
  EXPECT_EQ(view.sandboxFor("uid", makeContainer("c1", "", "web")), std::nullopt);
  view.addSandbox(makeSandbox("old"), at(1s), at(1s));
  view.addSandbox(makeSandbox("new"), at(2s), at(2s));
  view.addSandbox(makeSandbox("newest", "other"), at(3s), at(3s));
  EXPECT_EQ(view.sandboxFor("uid", makeContainer("c1", "", "web")), "new");
  EXPECT_EQ(view.sandboxFor("uid", makeContainer("c1", "old", "web")), "old");
  EXPECT_EQ(view.sandboxFor("uid", makeContainer("c1", "gone", "web")), "new");
}

TEST_F(PodViewTest, WhatCameUpAfterAListWasAskedForIsNotMissingInIt) {
  view.updateSandbox(makeSandbox("s1"), at(1s));
  view.updateSandbox(makeSandbox("s2"), at(5s));
  EXPECT_THAT(view.missingSandboxes({at(4s), {}, {}}), ElementsAre("s1"));
  EXPECT_THAT(view.missingSandboxes({at(4s), {"s1"}, {}}), IsEmpty());
  EXPECT_THAT(view.missingSandboxes({at(9s), {"s1"}, {}}), ElementsAre("s2"));
}

/// RunPodSandbox and CreateContainer return some time after the event.
TEST_F(PodViewTest, WhatAnEventAnnouncedIsNotMissingUntilItCanHaveBeenMade) {
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  EXPECT_THAT(view.missingSandboxes({at(10s), {}, {}}), IsEmpty());
  EXPECT_THAT(view.missingSandboxes({at(12s), {}, {}}), ElementsAre("s1"));
  EXPECT_THAT(view.missingSandboxes({at(2s), {}, {"s1"}}), ElementsAre("s1"))
      << "it was created and has ended";
  EXPECT_THAT(view.missingSandboxes({at(2s), {}, {}, 0s}), ElementsAre("s1")) << "it is not being created";
  view.addContainer("s1", makeContainer("c1", "s1", "web"), at(2s));
  EXPECT_THAT(view.missingContainers("s1", {}, at(11s)), IsEmpty());
  EXPECT_THAT(view.missingContainers("s1", {"c1"}, at(13s)), IsEmpty());
  EXPECT_THAT(view.missingContainers("s1", {}, at(13s)), ElementsAre("c1"));
}

/// The sandbox becomes ready after the list was requested and before the list arrives.
TEST_F(PodViewTest, AListFromBeforeASandboxWasReadyDoesNotDropIt) {
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  cri::SandboxStatus status;
  status.sandbox = makeSandbox("s1");
  view.setStatus("s1", status, at(5s));
  EXPECT_THAT(view.missingSandboxes({at(4s), {}, {}}), IsEmpty());
  EXPECT_THAT(view.missingSandboxes({at(6s), {}, {}}), ElementsAre("s1"));
  view.updateSandbox(makeSandbox("s1"), at(9s));
  EXPECT_THAT(view.missingSandboxes({at(6s), {}, {}}), ElementsAre("s1")) << "its first answer counts";
}

TEST(Gone, KeepsAnIdWhileALaterListStillHasIt) {
  Gone gone;
  gone.add("s1", Stamp(2s));
  gone.listed({}, Stamp(1s));
  EXPECT_TRUE(gone.contains("s1")) << "this list was requested before";
  gone.listed({"s1"}, Stamp(3s));
  EXPECT_TRUE(gone.contains("s1"));
  gone.listed({"s2"}, Stamp(4s));
  EXPECT_FALSE(gone.contains("s1"));
}

TEST_F(PodViewTest, AnInitContainerHasSucceededOnceAnyAttemptHas) {
  EXPECT_FALSE(view.attemptsAt("s1", "migrate").succeeded) << "no such pod";
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  EXPECT_FALSE(view.attemptsAt("s1", "migrate").succeeded);
  view.addContainer("s1", makeContainer("c1", "s1", "migrate"), at(2s));
  view.addContainer("s1", makeContainer("c2", "s1", "other"), at(2s));
  EXPECT_THAT(view.attemptsAt("s1", "migrate").notEnded, ElementsAre("c1"));
  EXPECT_EQ(view.containerExited("c1", 1, at(3s)), "s1");
  EXPECT_FALSE(view.attemptsAt("s1", "migrate").succeeded);
  EXPECT_THAT(view.attemptsAt("s1", "migrate").notEnded, IsEmpty());
  view.addContainer("s1", makeContainer("c3", "s1", "migrate"), at(4s));
  view.containerExited("c3", 0, at(5s));
  EXPECT_TRUE(view.attemptsAt("s1", "migrate").succeeded);
}

TEST_F(PodViewTest, AContainerWaitsSinceItsTurnCame) {
  config::Workload workload;
  workload.startAfter = {"migrate"};
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  EXPECT_EQ(view.waitingSince("s1", workload), at(1s));
  for (const char* name : {"migrate", "other"}) {
    view.addContainer("s1", makeContainer(name, "s1", name), at(2s));
  }
  view.containerExited("other", 0, at(9s));
  EXPECT_EQ(view.waitingSince("s1", workload), at(1s)) << "it does not wait for the other container";
  view.containerExited("migrate", 1, at(4s));
  EXPECT_EQ(view.waitingSince("s1", workload), at(1s)) << "kubelet tries it again";
  view.containerExited("migrate", 0, at(6s));
  EXPECT_EQ(view.waitingSince("s1", workload), at(6s));
}

TEST_F(PodViewTest, TheSummaryNamesPodsAndTheirContainers) {
  view.addSandbox(makeSandbox("s1"), at(1s), at(1s));
  view.addContainer("s1", makeContainer("c1", "s1", "web"), at(2s));
  view.containerExited("c1", 137, at(3s));
  const auto all = view.summaries();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].sandbox.podName, "web-0");
  EXPECT_THAT(all[0].made(), ElementsAre("web"));
  EXPECT_EQ(all[0].containers[0].exitCode, 137);
}

}  // namespace
}  // namespace fallbackd::watcher
