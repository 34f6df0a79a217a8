// SPDX-License-Identifier: Apache-2.0
#include "config/drill.hpp"
#include "domain/stand_in.hpp"
#include "watcher_fixture.hpp"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::watcher {
namespace {

using Kind = cri::Event::Kind;
using testing::Contains;
using testing::UnorderedElementsAre;

TEST_F(WatcherTest, APodThatWasThereBeforeIsFound) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].sandbox.id, "s1");
  EXPECT_EQ(seen.detections[0].cause, Cause::unreachable);
  EXPECT_EQ(seen.detections[0].workload->name, "checkout");
}

TEST_F(WatcherTest, ADetectionBringsTheStatusOfTheSandboxOnceItIsReady) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty() && seen.detections.back().status; }));
  EXPECT_EQ(seen.detections.back().status->pausePid, runtime.sandboxes.at("s1").pausePid);
}

TEST_F(WatcherTest, ADrillTakesTheImageOfItsPodAsRefusedAndAsksNoRegistry) {
  runtime.images = {"r.x/checkout:1"};  // real pods use it
  for (const char* id : {"real", "drill"}) runtime.addSandbox(id, "shop", "checkout");
  runtime.sandboxes.at("drill").sandbox.labels = {{"fallbackd.io/drill", "checkout-drill"}};
  runtime.sandboxes.at("drill").sandbox.podName = "checkout-drill";
  start();
  settle();
  EXPECT_TRUE(seen.detections.empty()) << "without a drill its label has no effect";
  watcher.reconfigure(config::withDrill(config, {"checkout", "shop", "checkout-drill"}).value());
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  settle();
  EXPECT_EQ(seen.firstOf("real"), nullptr);
  EXPECT_EQ(seen.detections[0].sandbox.id, "drill");
  EXPECT_EQ(seen.detections[0].cause, Cause::unreachable);
  EXPECT_NE(seen.detections[0].text.find("a drill"), std::string::npos);
  EXPECT_TRUE(config::isDrill(*seen.detections[0].workload));
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_EQ(seen.probes, 0);
  EXPECT_TRUE(watcher.registries().empty()) << "the drill must not change what is known of the registry";

  watcher.reconfigure(config);
  seen.detections.clear();
  settle();
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, RunningContainersAreCountedByTheVersionInTheirImagesTag) {
  int number = 0;
  const auto run = [&](const char* app, const char* image, cri::Container::State state) {
    const std::string id = "s" + std::to_string(++number);
    runtime.addSandbox(id, "shop", app);
    runtime.addContainer("c" + id, id, "main");
    runtime.containers.back().state = state;
    runtime.containers.back().image = image;
  };
  using Life = cri::Container::State;
  run("checkout", "r.x/checkout:1.8.3", Life::running);
  run("checkout", "r.x/checkout:1.8.2", Life::running);
  run("checkout", "r.x/checkout:v1.9.0", Life::running);
  run("checkout", "", Life::running);
  run("checkout", "r.x/checkout:1.8.2", Life::exited);
  run("cart", "r.x/cart:1.8.2", Life::running);
  start();
  settle();
  ASSERT_EQ(watcher.runningContainers().size(), 1U);
  const auto& skew = watcher.runningContainers().at("checkout");
  EXPECT_EQ(skew.same, 1U);
  EXPECT_EQ(skew.other, 2U);
  EXPECT_EQ(skew.unknown, 1U);
}

TEST_F(WatcherTest, AnImageThatIsKnownByItsIdOnlyIsNamedByItsTags) {
  int number = 0;
  const auto run = [&](const char* id) {
    const std::string sandbox = "s" + std::to_string(++number);
    runtime.addSandbox(sandbox, "shop", "checkout");
    runtime.addContainer("c" + sandbox, sandbox, "main");
    runtime.containers.back().state = cri::Container::State::running;
    runtime.containers.back().imageId = id;
  };
  runtime.tags = {{"sha256:same", {"r.x/checkout:latest", "r.x/checkout:1.8.3", "r.x/other:1.0.0"}},
                  {"sha256:old", {"r.x/checkout:1.8.2"}},
                  {"sha256:foreign", {"r.x/other:1.8.3"}}};
  for (const char* id : {"sha256:same", "sha256:same", "sha256:old", "sha256:foreign", "sha256:untagged"})
    run(id);
  start();
  settle();
  const auto& skew = watcher.runningContainers().at("checkout");
  EXPECT_EQ(skew.same, 2U);
  EXPECT_EQ(skew.other, 1U);
  EXPECT_EQ(skew.unknown, 2U);
  EXPECT_EQ(runtime.tagQuestions, 4) << "one query for each image";
}

config::ConfigPtr listingEachHour() {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->containerd.resyncInterval = 1h;
  return config;
}
struct RarelyListed : WatcherTest {
  RarelyListed() : WatcherTest(listingEachHour()) { runtime.addSandbox("s1", "shop", "checkout"); }
};

/// containerd is slow to answer queries that only a metric needs.
struct SlowAboutTags : RarelyListed {
  SlowAboutTags() {
    runs("c-slow", "sha256:slow");
    runtime.gateOf["sha256:slow"] = &slow;
    runtime.pauseImage = "r.x/pause:1";
  }
  void runs(const std::string& id, const std::string& imageId) {
    runtime.addSandbox("s-" + id, "shop", "checkout");
    auto& one = runtime.addContainer(id, "s-" + id, "main");
    one.state = cri::Container::State::running;
    one.imageId = imageId;
    runtime.tags[imageId] = {"r.x/checkout:1.8.3"};
  }
  void listAgain() {
    const int before = seen.connections;
    events.breakStream();
    ASSERT_TRUE(runUntil(loop, [&] { return seen.connections > before; }));
  }
  VersionSkew skew() const {
    const auto& all = watcher.runningContainers();
    return all.empty() ? VersionSkew{} : all.at("checkout");
  }

  test::Gate slow{loop};
};

TEST_F(SlowAboutTags, APodThatWaitsIsAttendedBeforeTheyAreKnown) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.firstOf("s1") != nullptr; }));
  EXPECT_TRUE(watcher.runningContainers().empty()) << "containers are counted once their tags are known";
  slow.open();
  ASSERT_TRUE(runUntil(loop, [&] { return skew().same == 1; }));
}

TEST_F(SlowAboutTags, TheContainerOfAPodIsReportedBeforeTheyAreKnown) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.firstOf("s1") != nullptr; }));
  runtime.addContainer("c1", "s1", "main");
  events.send(Kind::container_created, "c1");
  clock.advance(loop, 1s);
  EXPECT_THAT(seen.created, Contains("uid-s1/main"));
}

TEST_F(SlowAboutTags, APodThatWaitsIsAttendedBeforeTheSandboxImageIsLookedFor) {
  runtime.presenceGate = &slow;
  runtime.storeSilent = true;  // only the lists are available
  tasks.spawn(watcher.run());
  clock.advance(loop, 1s);
  EXPECT_TRUE(seen.up);
  EXPECT_EQ(watcher.waiting(), 1U);
  EXPECT_TRUE(seen.pauseImages.empty());
  slow.open();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.pauseImages.empty(); }));
}

TEST_F(SlowAboutTags, AListThatComesMeanwhileDoesNotAskAgain) {
  start();
  for (int i = 0; i < 3; ++i) listAgain();
  EXPECT_EQ(runtime.tagQuestions, 1);
  slow.open();
  ASSERT_TRUE(runUntil(loop, [&] { return skew().same == 1; }));
  EXPECT_EQ(runtime.tagQuestions, 1);
}

TEST_F(SlowAboutTags, AfterAWhileWhatIsKnownIsCountedAndKept) {
  runs("c-known", "sha256:known");
  runs("c-untold", "sha256:untold");  // queried last: the order is by name
  start();
  clock.advance(loop, 31s);
  EXPECT_EQ(skew().same, 1U);
  EXPECT_EQ(skew().unknown, 2U);
  EXPECT_EQ(runtime.tagQuestions, 2);
  slow.open();
  listAgain();
  ASSERT_TRUE(runUntil(loop, [&] { return skew().same == 3; }));
  EXPECT_EQ(runtime.tagQuestions, 4) << "one image's tags are already known";
}

TEST_F(SlowAboutTags, AContainerThatIsDeletedMeanwhileIsNotCounted) {
  runs("c-known", "sha256:known");
  start();
  events.send(Kind::container_deleted, "c-slow");
  events.send(Kind::task_exited, "s-c-known");
  clock.advance(loop, 1s);
  slow.open();
  ASSERT_TRUE(runUntil(loop, [&] { return !watcher.runningContainers().empty(); }));
  EXPECT_EQ(skew().same, 0U);
  EXPECT_EQ(skew().unknown, 0U);
}

TEST_F(WatcherTest, ANewSandboxIsFoundByItsEvent) {
  start();
  runtime.addSandbox("s1", "shop", "checkout");
  events.send(Kind::task_started, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].sandbox.podUid, "uid-s1");
}

/// The sandbox's pause process started before the subscription, and RunPodSandbox returns after the list: its
/// event is missed, and CRI does not know it yet.
TEST_F(RarelyListed, ASandboxThatIsMadeAroundTheFirstListIsFoundSoon) {
  runtime.beingMade = {"s1"};
  start();
  const auto began = clock.now();
  EXPECT_EQ(watcher.waiting(), 0U);
  runtime.beingMade.clear();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_LT(clock.now() - began, 1s);
}

TEST_F(RarelyListed, ASandboxWhoseCreationFailsIsForgotten) {
  runtime.beingMade = {"s1"};
  start();
  clock.advance(loop, 1min);
  const int before = runtime.calls;
  clock.advance(loop, 1min);
  EXPECT_EQ(runtime.calls, before);
  EXPECT_EQ(watcher.waiting(), 0U);
}

/// A drill detects without a probe: the container must be known before that.
TEST_F(RarelyListed, AContainerThatIsMadeAroundTheFirstListIsNotReplaced) {
  runtime.sandboxes.at("s1").sandbox.labels = {{"fallbackd.io/drill", "checkout-drill"}};
  runtime.sandboxes.at("s1").sandbox.podName = "checkout-drill";
  watcher.reconfigure(config::withDrill(config, {"checkout", "shop", "checkout-drill"}).value());
  runtime.addContainer("c1", "s1", "main");
  runtime.beingMade = {"c1"};
  start();
  EXPECT_EQ(seen.created, std::vector<std::string>{"uid-s1/main"});
  EXPECT_TRUE(seen.detections.empty());
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(RarelyListed, ALaterConnectionBringsNothingBackThatHasEnded) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  events.send(Kind::task_exited, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return watcher.waiting() == 0; }));
  seen.detections.clear();
  events.breakStream();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.connections == 2; }));
  clock.advance(loop, 1min);
  EXPECT_EQ(watcher.waiting(), 0U);
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(RarelyListed, ASandboxThatIsKnownAndStillBeingMadeKeepsItsContainers) {
  start();
  runtime.addSandbox("s2", "shop", "checkout");
  runtime.beingMade = {"s2"};
  events.send(Kind::container_created, "s2");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.firstOf("s2") != nullptr; }));
  events.breakStream();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.connections == 2; }));
  const auto began = clock.now();
  runtime.addContainer("c2", "s2", "main");
  events.send(Kind::container_created, "c2");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.created.empty(); }));
  EXPECT_LT(clock.now() - began, 1s);
}

TEST_F(RarelyListed, WithoutTheStoreTheListsAreEnough) {
  runtime.storeSilent = true;
  start();
  EXPECT_EQ(watcher.waiting(), 1U);
  ASSERT_EQ(seen.troubles.size(), 1U);
  EXPECT_NE(seen.troubles[0].find("the store"), std::string::npos);
}

/// The event of its end was in the broken stream.
TEST_F(RarelyListed, ALaterConnectionDropsWhatAnEventAnnouncedAndIsGone) {
  start();
  for (const char* id : {"removed", "stopped"}) {
    runtime.addSandbox(id, "shop", "checkout");
    events.send(Kind::container_created, id);
    ASSERT_TRUE(runUntil(loop, [&] { return seen.firstOf(id) != nullptr; }));
  }
  runtime.removeSandbox("removed");
  runtime.stopSandbox("stopped");
  events.breakStream();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.connections == 2; }));
  EXPECT_THAT(seen.gone, UnorderedElementsAre("removed", "stopped"));
  EXPECT_EQ(watcher.waiting(), 1U) << "only s1 waits";
}

TEST_F(WatcherTest, AListBringsNothingBackThatHasEnded) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  events.send(Kind::task_exited, "s1");  // CRI learns of it later
  ASSERT_TRUE(runUntil(loop, [&] { return watcher.waiting() == 0; }));
  seen.detections.clear();
  settle();
  EXPECT_EQ(watcher.waiting(), 0U);
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, AListBringsNoContainerBackThatWasDeleted) {
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addContainer("c1", "s1", "main");
  start();
  settle();
  EXPECT_TRUE(seen.detections.empty());
  events.send(Kind::container_deleted, "c1");  // CRI learns of it later
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  settle();
  EXPECT_EQ(seen.created.size(), 1U);
  EXPECT_EQ(watcher.waiting(), 1U);
}

TEST_F(WatcherTest, ASandboxIsProbedForWhileItStillStarts) {
  start();
  runtime.addSandbox("s1", "shop", "checkout");
  events.send(Kind::container_created, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  events.send(Kind::task_started, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.startedSandboxes.empty(); }));
  EXPECT_EQ(seen.startedSandboxes, std::vector<std::string>{"s1"});
}

TEST_F(WatcherTest, PodsThatNoWorkloadCoversAreLeftAlone) {
  runtime.addSandbox("s1", "other", "checkout");
  runtime.addSandbox("s2", "shop", "cart");
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(WatcherTest, AWrongTagOrAMissingSecretStartsNothing) {
  runtime.addSandbox("s1", "shop", "checkout");
  for (const auto* text :
       {"r.x/checkout:1: not found", "failed with status code [manifests 1]: 401 Unauthorized"}) {
    runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2, text};
    const int before = seen.probes;
    if (!seen.up) start();
    ASSERT_TRUE(runUntil(loop, [&] { return seen.probes >= before + 2; }));
  }
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, APresentImageIsNotProbed) {
  runtime.images.insert("r.x/checkout:1");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, TheRealContainerEndsTheWait) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addContainer("c1", "s1", "main");
  events.send(Kind::container_created, "c1");
  events.send(Kind::task_started, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.started.empty(); }));
  EXPECT_EQ(seen.created, std::vector<std::string>{"uid-s1/main"});
  EXPECT_EQ(seen.started, std::vector<std::string>{"c1"});
  EXPECT_EQ(watcher.waiting(), 0U);
  settle();
  EXPECT_EQ(seen.created.size(), 1U) << "the resync must not report it again";
}

TEST_F(WatcherTest, AMissedContainerEventIsFoundByTheResync) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addContainer("c1", "s1", "main");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.created.empty(); }));
}

TEST_F(WatcherTest, AContainerThatSomebodyElseMadeDoesNotEndTheWait) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addForeignContainer("debug", "s1", "main");
  events.send(Kind::container_created, "debug");
  events.send(Kind::task_started, "debug");
  // kubelet's labels alone are easily copied; without its hash, kubelet itself would not adopt the container.
  auto& copied = runtime.addContainer("copied", "s1", "main");
  copied.annotations.clear();
  events.send(Kind::container_created, "copied");
  settle();
  EXPECT_TRUE(seen.created.empty()) << seen.created.front();
  EXPECT_EQ(watcher.waiting(), 1U);
  auto& other = runtime.addContainer("c1", "s1", "main");
  other.labels["io.kubernetes.pod.uid"] = "uid-other";
  settle();
  EXPECT_TRUE(seen.created.empty()) << "its labels name another pod";
  runtime.addContainer("c2", "s1", "main");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.created.empty(); }));
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(WatcherTest, AStandInDoesNotEndTheWait) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.detections.size() == 1; }));
  auto& one = runtime.addContainer("stand-in", "s1", "main");
  one.labels[kStandInLabel] = "0123456789ab";
  runtime.labels["stand-in"][kStandInLabel] = "0123456789ab";
  events.send(Kind::container_created, "stand-in");
  runtime.startContainer("stand-in");
  events.send(Kind::task_started, "stand-in");
  settle();
  EXPECT_TRUE(seen.created.empty()) << "neither its event nor the next lists may end the wait";
  EXPECT_TRUE(seen.started.empty());
  EXPECT_EQ(watcher.waiting(), 1U);
}

TEST_F(WatcherTest, APodThatGoesIsReportedOnceByEventOrResync) {
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addSandbox("s2", "shop", "checkout");
  start();
  runtime.sandboxes.erase("s1");
  events.send(Kind::task_exited, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.gone.size() == 1; }));
  runtime.sandboxes.erase("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.gone.size() == 2; }));
  settle();
  EXPECT_EQ(seen.gone, (std::vector<std::string>{"s1", "s2"}));
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(WatcherTest, APodIsGoneWithTheLastOfItsSandboxes) {
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addSandbox("s2", "shop", "checkout");
  runtime.sandboxes.at("s2").sandbox.podUid = "uid-s1";
  start();
  events.send(Kind::task_exited, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.gone.size() == 1; }));
  EXPECT_TRUE(specs.gone.empty());
  events.send(Kind::task_exited, "s2");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.gone.size() == 2; }));
  EXPECT_EQ(specs.gone, (std::vector<std::string>{"uid-s1"}));
}

TEST_F(WatcherTest, ABrokenStreamIsReplacedAndNothingIsLost) {
  start();
  runtime.down = true;
  events.breakStream();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.up; }));
  runtime.addSandbox("s1", "shop", "checkout");  // its event is lost
  runtime.down = false;
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_TRUE(seen.up);
  EXPECT_GE(events.subscriptions, 2);
}

TEST_F(WatcherTest, ContainerdBeingAwaySaysNothingAboutTheRegistry) {
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 14, "Socket closed"};
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.probes >= 2; }));
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, TheEndOfTheOutageBringsTheImage) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.images.contains("r.x/checkout:1"); }));
  const auto pulls = runtime.pulls["r.x/checkout:1"];
  settle();
  EXPECT_EQ(runtime.pulls["r.x/checkout:1"], pulls) << "a present image is not pulled again";
}

TEST_F(WatcherTest, ANewConfigurationCoversPodsThatAlreadyWait) {
  runtime.addSandbox("s1", "shop", "cart");
  start();
  settle();
  ASSERT_TRUE(seen.detections.empty());
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].match.labels = {{"app", "cart"}};
  watcher.reconfigure(changed);
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, AnImageThatIsNeverPulledIsNeverProbed) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].detection.pullPolicy = config::PullPolicy::never;
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  ASSERT_EQ(watcher.waitingContainers().size(), 1U);
  EXPECT_EQ(watcher.waitingContainers()[0].state, Waiting::State::never_pulled);
}

TEST_F(WatcherTest, AlwaysAsksThoughTheImageIsThere) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].detection.pullPolicy = config::PullPolicy::always;
  watcher.reconfigure(changed);
  runtime.images.insert("r.x/checkout:1");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, OurOwnPullOfWhatIsAlwaysPulledIsNotFollowedByAnother) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->detection.reprobeInterval = 1h;
  changed->workloads[0].detection.pullPolicy = config::PullPolicy::always;
  watcher.reconfigure(changed);
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  runtime.images.insert("r.x/checkout:1");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.pulls["r.x/checkout:1"] == 1; }));
  settle();
  clock.advance(loop, 5s);
  EXPECT_EQ(runtime.pulls["r.x/checkout:1"], 1);
}

TEST_F(WatcherTest, TheTagLatestMeansAlwaysUnlessThePolicyIsSet) {
  for (const std::string image : {"r.x/checkout:latest", "r.x/checkout"}) {
    auto changed = std::make_shared<config::Config>(*config);
    changed->workloads[0].image = image;
    EXPECT_EQ(config::pullPolicyOf(changed->workloads[0]), config::PullPolicy::always) << image;
    changed->workloads[0].detection.pullPolicy = config::PullPolicy::if_not_present;
    EXPECT_EQ(config::pullPolicyOf(changed->workloads[0]), config::PullPolicy::if_not_present) << image;
  }
  auto changed = std::make_shared<config::Config>(*config);
  EXPECT_EQ(config::pullPolicyOf(changed->workloads[0]), config::PullPolicy::if_not_present);
  changed->workloads[0].image = "r.x/checkout";
  watcher.reconfigure(changed);
  runtime.images.insert("r.x/checkout:latest");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  EXPECT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, AFallbackWaitsForTheInitContainers) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->detection.reprobeInterval = 1h;  // only events wake it
  changed->workloads[0].startAfter = {"migrate"};
  watcher.reconfigure(changed);
  start();
  runtime.addSandbox("s1", "shop", "checkout");
  events.send(Kind::task_started, "s1");
  runtime.addContainer("c1", "s1", "migrate");
  events.send(Kind::container_created, "c1");
  events.send(Kind::task_started, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.started.empty(); }));
  EXPECT_TRUE(runtime.pulls.empty());
  events.send(Kind::task_exited, "c1", 1);  // kubelet will try it again
  runtime.addContainer("c2", "s1", "migrate");
  events.send(Kind::container_created, "c2");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.created.size() == 2; }));
  EXPECT_TRUE(seen.detections.empty());
  events.send(Kind::task_exited, "c2", 0);
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, InitContainersThatEndedBeforeTheDaemonCame) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].startAfter = {"migrate"};
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addContainer("c1", "s1", "migrate");
  runtime.exitContainer("c1", 0);
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

/// A drill's pod with an init container that a webhook added: it waits for the answer whether that container
/// has succeeded.
struct DrillThatAsks : WatcherTest {
  DrillThatAsks() {
    auto changed = std::make_shared<config::Config>(*config);
    changed->detection.reprobeInterval = changed->containerd.resyncInterval = 1h;  // only events count
    changed->workloads[0].inheritance.on = true;
    const auto drilled = config::withDrill(changed, {"checkout", "shop", "checkout-drill"}).value();
    watcher.reconfigure(drilled);
    runtime.addSandbox("s1", "shop", "checkout");
    auto& sandbox = runtime.sandboxes.at("s1").sandbox;
    sandbox.labels = {{"fallbackd.io/drill", "checkout-drill"}};
    sandbox.podName = "checkout-drill";
    auto pod = test::podOf(drilled->workloads.back().image);
    pod.name = "checkout-drill";
    pod.initContainers.emplace_back().name = "mesh-init";
    specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(std::move(pod));
    runtime.addContainer("c1", "s1", "mesh-init");
    runtime.exitContainer("c1", 0);
    runtime.exitGate = &answer;
  }
  void SetUp() override {
    start();
    ASSERT_TRUE(runUntil(loop, [&] { return runtime.exitQuestions == 1; }));
    ASSERT_TRUE(seen.detections.empty());
  }
  /// Sends the event while the answer is on its way.
  void answerDuring(Kind kind, const std::string& id) {
    events.send(kind, id);
    answer.open();
    loop.restart();
    loop.poll();
  }

  test::Gate answer{loop};
};

TEST_F(DrillThatAsks, IsDetectedByTheAnswer) {
  answer.open();
  EXPECT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(DrillThatAsks, APodThatGoesBeforeAnAnswerArrivesIsForgotten) {
  answerDuring(Kind::task_exited, "s1");
  EXPECT_EQ(seen.gone, (std::vector<std::string>{"s1"}));
  EXPECT_TRUE(seen.detections.empty());
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(DrillThatAsks, AContainerThatIsMadeBeforeAnAnswerArrivesIsNotDetected) {
  runtime.addContainer("c2", "s1", "main");
  answerDuring(Kind::container_created, "c2");
  EXPECT_EQ(seen.created.back(), "uid-s1/main");
  EXPECT_TRUE(seen.detections.empty());
}

/// The parameter is the number of loop turns between the end of a failed pull and the container's event.
struct PullThatEnds : WatcherTest, testing::WithParamInterface<int> {};

TEST_P(PullThatEnds, AContainerThatIsMadeBeforeTheVerdictArrivesIsNotDetected) {
  test::Gate end{loop};
  runtime.pullGate = &end;
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !runtime.pulls.empty(); }));
  const auto turns = [&](int count) {
    loop.restart();
    for (int i = 0; i < count; ++i) loop.poll_one();
  };
  end.open();
  turns(GetParam());
  runtime.addContainer("c1", "s1", "main");
  events.send(Kind::container_created, "c1");
  for (int i = 0; i < 100 && seen.created.empty(); ++i) turns(1);
  ASSERT_EQ(seen.created.size(), 1U);
  const auto before = seen.detections.size();
  turns(100);
  EXPECT_EQ(seen.detections.size(), before);
}

INSTANTIATE_TEST_SUITE_P(Turns, PullThatEnds, testing::Range(0, 10));

TEST_F(WatcherTest, WithoutAPasswordA401IsUndecidedAndSeen) {
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2,
                         "unexpected status from HEAD request: 401 Unauthorized"};
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto waiting = watcher.waitingContainers();
    return !waiting.empty() && waiting[0].state == Waiting::State::undecided;
  }));
  EXPECT_EQ(watcher.waitingContainers()[0].cause, Cause::unauthorized);
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, AMissingPauseImageIsReported) {
  runtime.pauseImage = "registry.k8s.io/pause:3.6";
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.pauseImages.empty(); }));
  EXPECT_EQ(seen.pauseImages[0], "registry.k8s.io/pause:3.6 missing");
}

/// A kernel without CONFIG_INET_DIAG_DESTROY.
TEST_F(WatcherTest, AKernelThatEndsNoConnectionsIsReportedAndAHangingPullIsDetectedAllTheSame) {
  traffic.cannotEnd = Reason::unavailable;
  test::Gate silence(loop);
  runtime.pullGate = &silence;
  for (const char* id : {"s1", "s2"}) runtime.addSandbox(id, "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.detections.size() >= 2; }));
  EXPECT_EQ(seen.detections[0].cause, Cause::timeout);
  EXPECT_EQ(watcher.unsticker().state(), Unsticker::State::not_supported);
  EXPECT_TRUE(seen.unstucks.empty());
  ASSERT_FALSE(seen.troubles.empty());
  EXPECT_NE(seen.troubles[0].find("without CONFIG_INET_DIAG_DESTROY"), std::string::npos);
  for (const auto& one : seen.troubles) EXPECT_EQ(one, seen.troubles[0]) << "it is logged once";
}

TEST_F(WatcherTest, PodsChooseTheirBinaryWhereTheyMay) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->podAnnotations.namespaces = {"shop"};
  watcher.reconfigure(changed);
  start();
  for (const auto* id : {"s1", "s2", "s3"}) runtime.addSandbox(id, "shop", "other");
  runtime.addSandbox("s4", "elsewhere", "other");
  for (const auto* id : {"s1", "s4"}) {
    runtime.sandboxes[id].sandbox.annotations = {{"fallbackd.io/binary.web", "web@2.0.0"},
                                                 {"fallbackd.io/image.web", "r.x/web:2"}};
  }
  runtime.sandboxes["s2"].sandbox.annotations = {{"fallbackd.io/binary.web", "web"}};
  runtime.sandboxes["s3"].sandbox.annotations = {{"fallbackd.io/binary.web", "web@2.0.0"}};
  for (const auto* id : {"s1", "s2", "s3", "s4"}) events.send(Kind::task_started, id);
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty() && seen.troubles.size() >= 2; }));
  settle();
  for (const auto& detection : seen.detections) {
    EXPECT_EQ(detection.sandbox.id, "s1");
    EXPECT_EQ(detection.workload->binary.toString(), "web@2.0.0");
    EXPECT_EQ(detection.workload->image, "r.x/web:2");
  }
}

TEST_F(WatcherTest, AnAnnotationReplacesTheVersionOfTheWorkload) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->podAnnotations.namespaces = {"shop"};
  changed->workloads[0].args = {"--port=8080"};
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.sandboxes["s1"].sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.9.0"},
                                                 {"fallbackd.io/image.main", "r.x/checkout:9"}};
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].workload->binary.version, "1.9.0");
  EXPECT_EQ(seen.detections[0].workload->image, "r.x/checkout:9");
  EXPECT_EQ(seen.detections[0].workload->args, std::vector<std::string>{"--port=8080"});
}

TEST_F(WatcherTest, TheEndOfAnOutageWakesAllPodsOfTheRegistry) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->detection.reprobeInterval = 50ms;
  auto second = changed->workloads[0];
  second.name = "cart";
  second.match.labels = {{"app", "cart"}};
  second.image = "r.x/cart:1";
  changed->workloads.push_back(second);
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addSandbox("s2", "shop", "cart");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.detections.size() >= 2; }));
  EXPECT_EQ(watcher.registries().at(0).state, Circuits::State::open);
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.images.size() == 2; }));
  EXPECT_EQ(watcher.registries().at(0).state, Circuits::State::closed);
}

}  // namespace
}  // namespace fallbackd::watcher
