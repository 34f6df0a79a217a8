// SPDX-License-Identifier: Apache-2.0
// Containers that do not come although their images are on the node: what is acted on, and what is only
// reported.
#include "fake_runtime.hpp"
#include "fake_traffic.hpp"
#include "recording_listener.hpp"
#include "watcher/watcher.hpp"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using Kind = cri::Event::Kind;
using test::Gate;
using test::runUntil;
using testing::HasSubstr;

constexpr const char* kHungImage = "r.silent/cart:1";
constexpr const char* kReadyImage = "r.x/checkout:1";
constexpr cri::PullOutcome::Kind kPulledKind = cri::PullOutcome::Kind::pulled;

config::Workload appWorkload(const std::string& app, const std::string& image) {
  config::Workload workload;
  workload.name = app;
  workload.match = {std::nullopt, {{"app", app}}, "main"};
  workload.image = image;
  workload.binary = {app, "1.8.3"};
  workload.detection.stallTimeout = workload.detection.responseTimeout = 20ms;
  workload.detection.startTimeout = 60ms;
  return workload;
}

/// "checkout" has an image that can be pulled, "cart" a registry that is silent.
struct NotStarted : testing::Test {
  NotStarted() {
    runtime.events = &events;
    config->detection.reprobeInterval = 20ms;
    config->containerd.resyncInterval = 1h;
    config->workloads = {appWorkload("checkout", kReadyImage), appWorkload("cart", kHungImage)};
    runtime.outcomeOf[kReadyImage] = {kPulledKind, 0, ""};
    runtime.outcomeOf[kHungImage] = {kPulledKind, 0, ""};
    runtime.gateOf[kHungImage] = &silence;
  }
  ~NotStarted() override {
    tasks.cancelAll();
    runUntil(loop, [&] { return tasks.empty(); });
  }
  void start() {
    watcher.reconfigure(config);
    tasks.spawn(watcher.run());
    ASSERT_TRUE(runUntil(loop, [&] { return seen.up; }));
  }
  void addPod(const std::string& id, const std::string& app, const std::string& podNamespace = "shop") {
    runtime.addSandbox(id, podNamespace, app);
    events.send(Kind::task_started, id);
  }
  [[nodiscard]] std::optional<Waiting> waitingIn(const std::string& sandbox) const {
    for (auto& one : watcher.waitingContainers()) {
      if (one.sandbox.id == sandbox) return std::move(one);
    }
    return std::nullopt;
  }
  bool reaches(const std::string& sandbox, Waiting::State state) {
    return runUntil(loop, [&] {
      const auto one = waitingIn(sandbox);
      return one && one->state == state;
    });
  }
  bool detects(const std::string& sandbox, Cause cause) {
    return runUntil(loop, [&] {
      const auto* one = seen.firstOf(sandbox);
      return one != nullptr && one->cause == cause;
    });
  }
  /// Lets the loop go through several looks.
  void settle() {
    const int before = runtime.calls;
    ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls >= before + 12; }));
  }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  test::FakeEvents events{loop};
  test::FakeTraffic traffic;
  Gate silence{loop};
  test::RecordingListener seen;
  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  Watcher watcher{loop.get_executor(), runtime, events, traffic, seen, config};
  TaskGroup tasks{loop.get_executor()};
};

TEST_F(NotStarted, BehindAStalledPullItIsACauseAndSaysBehindWhich) {
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("s1", Cause::not_started));
  const auto& detection = *seen.firstOf("s1");
  EXPECT_EQ(detection.workload->name, "checkout");
  EXPECT_THAT(detection.text, HasSubstr("stuck behind the pull of r.silent/cart:1 for pod shop/pod-hung"));
  EXPECT_GE(detection.failureKnown - detection.waitingSince, 60ms) << "not before startTimeout is over";
  const auto waiting = waitingIn("s1");
  EXPECT_EQ(waiting->state, Waiting::State::not_started);
  EXPECT_EQ(waiting->cause, Cause::not_started);
  ASSERT_TRUE(waiting->heldUp);
  const auto& pull = std::get<StalledPull>(*waiting->heldUp);
  EXPECT_EQ(pull.registry, "r.silent");
  EXPECT_EQ(pull.container, "main");
  EXPECT_GT(pull.since, Stamp{});
}

TEST_F(NotStarted, WithoutAKnownReasonItIsReportedAndNotActedOn) {
  start();
  addPod("s1", "checkout");
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  settle();
  EXPECT_TRUE(seen.detections.empty());
  const auto waiting = waitingIn("s1");
  EXPECT_EQ(waiting->cause, Cause::not_started);
  EXPECT_FALSE(waiting->heldUp);
  EXPECT_THAT(waiting->text, HasSubstr("nothing is known to hold kubelet up"));
}

/// kubelet's pull began with its pod, however late the daemon learnt that it had stalled.
TEST_F(NotStarted, AStallThatIsKnownLaterIsTakenIntoAccountAtOnce) {
  config->workloads[1].detection.stallTimeout = config->workloads[1].detection.responseTimeout = 200ms;
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  ASSERT_EQ(seen.firstOf("s1"), nullptr);
  ASSERT_TRUE(detects("s1", Cause::not_started));
}

/// The container was overdue when nothing held kubelet up: kubelet refuses it, also after any other pod's
/// pull.
TEST_F(NotStarted, WhatWasOverdueBeforeAnotherPullBeganIsRefusedAndStaysSo) {
  for (const auto policy : {config::PullPolicy::if_not_present, config::PullPolicy::always}) {
    config->workloads[0].detection.pullPolicy = policy;
    const std::string number = std::to_string(static_cast<int>(policy));
    if (!seen.up) start();
    watcher.reconfigure(std::make_shared<config::Config>(*config));
    addPod("refused" + number, "checkout");
    ASSERT_TRUE(reaches("refused" + number, Waiting::State::not_started));
  }
  ASSERT_TRUE(seen.detections.empty());
  addPod("hung", "cart");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  settle();
  for (const auto* id : {"refused0", "refused1"}) {
    EXPECT_EQ(seen.firstOf(id), nullptr) << id << ": no fallback for a container that kubelet refuses";
  }
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("s1", Cause::not_started)) << "a new container is held up";
}

TEST_F(NotStarted, WhenTheOtherPullMovesItIsReleasedAndOnlyReported) {
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("s1", Cause::not_started));
  EXPECT_TRUE(seen.released.empty());
  silence.open();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.released.empty(); }));
  EXPECT_EQ(seen.released, std::vector<std::string>{"s1/main"});
  settle();
  EXPECT_EQ(seen.released.size(), 1U) << "it is released once";
  EXPECT_EQ(waitingIn("s1")->state, Waiting::State::not_started);
  EXPECT_FALSE(waitingIn("s1")->heldUp);
}

TEST_F(NotStarted, WhenThePodWithTheStalledPullGoesItIsReleased) {
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("s1", Cause::not_started));
  runtime.sandboxes.erase("hung");
  events.send(Kind::task_exited, "hung");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.released.empty(); }));
}

TEST_F(NotStarted, AContainerThatComesInTimeIsNotMissed) {
  start();
  addPod("hung", "cart");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  addPod("s1", "checkout");
  ASSERT_TRUE(reaches("s1", Waiting::State::image_present));
  runtime.addContainer("c1", "s1", "main");
  events.send(Kind::container_created, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !waitingIn("s1"); }));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

/// kubelet checks whether the image is present before it queues a pull: another pod's pull does not hold it
/// up.
TEST_F(NotStarted, WhatWasThereBeforeKubeletAskedWaitsForNoPullOfAnotherPod) {
  runtime.images.insert(kReadyImage);
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

TEST_F(NotStarted, AnImageThatWasThereWaitsForPullsOfItsOwnPod) {
  config->workloads[1].match.labels = {{"app", "checkout"}};
  config->workloads[1].match.container = "sidecar";
  runtime.images.insert(kReadyImage);
  start();
  addPod("s1", "checkout");
  ASSERT_TRUE(runUntil(loop, [&] {
    return std::any_of(seen.detections.begin(), seen.detections.end(),
                       [](const auto& one) { return one.cause == Cause::not_started; });
  }));
}

TEST_F(NotStarted, AlwaysPullsWhatIsThereToo) {
  config->workloads[0].detection.pullPolicy = config::PullPolicy::always;
  runtime.images.insert(kReadyImage);
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("s1", Cause::not_started));
}

/// kubelet may have refused it for days.
TEST_F(NotStarted, APodThatWasThereBeforeUsIsReportedAndNotActedOn) {
  for (const auto policy : {config::PullPolicy::if_not_present, config::PullPolicy::always}) {
    config->workloads[0].detection.pullPolicy = policy;
    runtime.images.insert(kReadyImage);
    runtime.addSandbox("hung", "shop", "cart");
    runtime.addSandbox("s1", "shop", "checkout");
    if (!seen.up) start();
    watcher.reconfigure(std::make_shared<config::Config>(*config));
    ASSERT_TRUE(detects("hung", Cause::timeout));
    ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
    settle();
    EXPECT_EQ(seen.firstOf("s1"), nullptr);
  }
}

TEST_F(NotStarted, PullPolicyNeverDetectsNothing) {
  config->workloads[0].detection.pullPolicy = config::PullPolicy::never;
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
  EXPECT_EQ(waitingIn("s1")->state, Waiting::State::never_pulled);
}

/// A look that does not have to wait ends before any other task has a turn.
TEST_F(NotStarted, TheFirstLookCountsEvenIfItTakesNoTime) {
  config->detection.reprobeInterval = 1h;
  config->workloads[0].detection.pullPolicy = config::PullPolicy::never;
  config->workloads[1].detection.pullPolicy = config::PullPolicy::always;
  start();
  addPod("s1", "checkout");
  addPod("hung", "cart");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  EXPECT_EQ(waitingIn("s1")->state, Waiting::State::never_pulled);
  addPod("hung2", "cart");
  ASSERT_TRUE(detects("hung2", Cause::timeout));
  EXPECT_EQ(waitingIn("hung2")->state, Waiting::State::failed) << "the circuit knows the failure";
}

TEST_F(NotStarted, StartsNothingIfItIsNotATrigger) {
  config->workloads[0].detection.triggers = {Cause::timeout};
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto one = waitingIn("s1");
    return one && one->heldUp;
  }));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

/// A container that ran once is not held up by a pull alone (a crash loop), and a Job's work must not run
/// twice.
TEST_F(NotStarted, AContainerThatWasThereBeforeIsNotReplaced) {
  config->workloads[0].restart.policy = config::RestartPolicy::never;
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  runtime.addContainer("c1", "s1", "main");
  events.send(Kind::container_created, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !waitingIn("s1"); }));
  runtime.containers.clear();
  events.send(Kind::container_deleted, "c1");
  seen.detections.clear();
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

TEST_F(NotStarted, AnAnswerThatComesAtOnceIsNotAStalledPull) {
  runtime.gateOf.clear();
  runtime.outcomeOf[kHungImage] = {
      cri::PullOutcome::Kind::failed, 2,
      "failed to pull and unpack image \"r.silent/cart:1\": failed to resolve reference "
      "\"r.silent/cart:1\": unexpected status from HEAD request to "
      "https://r.silent/v2/cart/manifests/1: 408 Request Timeout"};
  config->workloads[1].detection.stallTimeout = 1h;
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("hung", Cause::timeout));
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

TEST_F(NotStarted, ANewConfigurationForgetsNeitherTheImageNorThatItWasThereBefore) {
  runtime.images.insert(kReadyImage);
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  watcher.reconfigure(std::make_shared<config::Config>(*config));
  seen.detections.clear();
  ASSERT_TRUE(detects("hung", Cause::timeout));
  settle();
  EXPECT_EQ(waitingIn("s1")->state, Waiting::State::not_started);
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

/// In an outage an operator changes what triggers, or leaves mode observe.
TEST_F(NotStarted, ANewConfigurationKeepsTheBeginningOfAStall) {
  config->workloads[0].detection.triggers = {Cause::timeout};
  start();
  addPod("hung", "cart");
  addPod("s1", "checkout");
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto one = waitingIn("s1");
    return one && one->heldUp;
  }));
  ASSERT_EQ(seen.firstOf("s1"), nullptr);
  const auto since = std::get<StalledPull>(*waitingIn("s1")->heldUp).since;
  const auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].detection.triggers = defaultTriggers();
  watcher.reconfigure(changed);
  ASSERT_TRUE(detects("s1", Cause::not_started)) << "kubelet is still behind the same pull";
  EXPECT_EQ(std::get<StalledPull>(*waitingIn("s1")->heldUp).since, since);
}

// kubelet's back-off

constexpr const char* kRefusedText =
    "failed to pull and unpack image: dial tcp 127.0.0.1:1: connect: connection refused";

struct BackingOff : NotStarted {
  BackingOff() {
    config->workloads[0].detection.pullPolicy = config::PullPolicy::always;
    runtime.outcomeOf[kReadyImage] = {cri::PullOutcome::Kind::failed, 2, kRefusedText};
  }
  void fails(Cause cause) {
    start();
    addPod("s1", "checkout");
    ASSERT_TRUE(runUntil(loop, [&] {
      const auto one = waitingIn("s1");
      return one && one->state == Waiting::State::failed && one->cause == cause;
    }));
  }
  void comesBack() {
    runtime.outcomeOf[kReadyImage] = {kPulledKind, 0, ""};
    ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  }
  [[nodiscard]] bool isHeldUp() const { return waitingIn("s1")->heldUp.has_value(); }
};

TEST_F(BackingOff, HoldsUpAContainerThatAlwaysPulls) {
  fails(Cause::unreachable);
  comesBack();
  ASSERT_TRUE(isHeldUp());
  EXPECT_GT(std::get<BackOff>(*waitingIn("s1")->heldUp).until, clock.now());
  ASSERT_TRUE(runUntil(loop, [&] {
    return std::any_of(seen.detections.begin(), seen.detections.end(),
                       [](const auto& one) { return one.cause == Cause::not_started; });
  }));
}

TEST_F(BackingOff, DoesNotHoldUpWhatStartsAtTheNextSync) {
  config->workloads[0].detection.pullPolicy = config::PullPolicy::if_not_present;
  fails(Cause::unreachable);
  comesBack();
  EXPECT_FALSE(isHeldUp());
}

TEST_F(BackingOff, IsNotKnownAfterAFailureThatKubeletNeedNotHaveHad) {
  runtime.outcomeOf[kReadyImage] = {
      cri::PullOutcome::Kind::failed, 2,
      "failed to pull and unpack image \"r.x/checkout:1\": failed to resolve reference \"r.x/checkout:1\": "
      "unexpected status from HEAD request to https://r.x/v2/checkout/manifests/1: 401 Unauthorized"};
  start();
  addPod("s1", "checkout");
  ASSERT_TRUE(reaches("s1", Waiting::State::undecided));
  comesBack();
  EXPECT_FALSE(isHeldUp()) << "kubelet may have a password";
}

TEST_F(BackingOff, IsNotKnownOfAPodThatWasThereBeforeUs) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(reaches("s1", Waiting::State::failed));
  comesBack();
  EXPECT_FALSE(isHeldUp());
}

// Which pulls count for which namespace

struct HostileHold : NotStarted {
  HostileHold() { config->podAnnotations.namespaces = {"evil", "worse"}; }
  void addHanging(const std::string& id, const std::string& podNamespace, const std::string& image) {
    runtime.gateOf[image] = &silence;
    runtime.addSandbox(id, podNamespace, "own");
    runtime.sandboxes[id].sandbox.annotations = {{"fallbackd.io/binary.web", "web@2.0.0"},
                                                 {"fallbackd.io/image.web", image}};
    events.send(Kind::task_started, id);
  }
  bool stalls(const std::string& sandbox) {
    return runUntil(loop, [&] {
      const auto one = waitingIn(sandbox);
      return one && one->state == Waiting::State::failed && one->cause == Cause::timeout;
    });
  }
};

TEST_F(HostileHold, AnAnnotatedImageThatHangsStartsNothingElsewhere) {
  config->detection.workloadDefaults.stallTimeout = config->detection.workloadDefaults.responseTimeout = 20ms;
  start();
  addHanging("e1", "evil", "r.evil/a:1");
  addHanging("e2", "evil", "r.evil/b:1");
  ASSERT_TRUE(stalls("e1"));
  ASSERT_TRUE(stalls("e2"));
  addPod("s1", "checkout");
  ASSERT_TRUE(reaches("s1", Waiting::State::not_started));
  settle();
  EXPECT_EQ(seen.firstOf("s1"), nullptr) << seen.firstOf("s1")->text;
  runtime.images.clear();  // so that this pod's image arrives later than the pod
  addPod("own", "checkout", "evil");
  ASSERT_TRUE(detects("own", Cause::not_started)) << "in its own namespace it counts";
  EXPECT_EQ(seen.firstOf("s1"), nullptr);
}

TEST_F(HostileHold, TwoNamespacesAreBelieved) {
  config->detection.workloadDefaults.stallTimeout = config->detection.workloadDefaults.responseTimeout = 20ms;
  start();
  addHanging("e1", "evil", "r.silent/a:1");
  addHanging("e2", "worse", "r.silent/b:1");
  ASSERT_TRUE(stalls("e1"));
  ASSERT_TRUE(stalls("e2"));
  addPod("s1", "checkout");
  ASSERT_TRUE(detects("s1", Cause::not_started));
}

}  // namespace
}  // namespace fallbackd::watcher
