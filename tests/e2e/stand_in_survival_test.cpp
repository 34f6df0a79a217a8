// SPDX-License-Identifier: Apache-2.0
// Settled pods while the node around them changes: kubelet and containerd are restarted, the sandbox is
// created again, garbage is collected, a person removes the stand-in, kubelet rejects it. The fallback keeps
// serving, nothing is doubled, Kubernetes sees the pod again, and nothing is left.
#include "content_of.hpp"
#include "http.hpp"
#include "no_doubles.hpp"
#include "settle_fixture.hpp"
#include "wait.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using model::PodStatus;
using model::RunState;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kPod = "web-0";
// A stand-in that was removed or rejected is created again after 30 s.
constexpr auto kSecondTry = 60s;
// The limit for a stand-in without a fallback: a back-off of 50 ms, plus what a loaded node takes.
constexpr auto kAlone = 10s;

class StandInSurvival : public SettleNode {
 protected:
  void settle() {
    ASSERT_NO_FATAL_FAILURE(open(0ms, "  restart: {initialDelay: 50ms}\n"));
    watch_.emplace(*shop_->node);
    definition_ = kubelet_->add(podOf(kPod));
    ASSERT_TRUE(readyWith(kPod, kStandIn)) << said(kPod);
  }
  void TearDown() override {
    watch_.reset();
    SettleNode::TearDown();
  }
  /// The id of the container that kubelet shows.
  [[nodiscard]] std::string id() const { return kubelet_->status(kPod)->containers[0].containerId; }
  [[nodiscard]] bool serves() const {
    const auto answer = httpGet(kubelet_->status(kPod)->ip, Shop::kPort, "/", 5s);
    return answer && answer->body.find("role=fallback") != std::string::npos;
  }
  /// Whether a stand-in other than this one is Ready.
  [[nodiscard]] bool isReplaced(const std::string& before, std::chrono::seconds ceiling = kCeiling) const {
    return kubelet_->waitFor(
        kPod,
        [&](const PodStatus& pod) {
          const auto& one = pod.containers[0];
          return pod.ready && one.image == kStandIn && one.containerId != before;
        },
        ceiling);
  }
  /// Kills the fallback, and waits until both are back.
  void crash() {
    const auto before = id();
    ASSERT_EQ(::kill(fallbackPid(*shop_->daemon, kPod), SIGKILL), 0);
    ASSERT_TRUE(isReplaced(before)) << said(kPod);
  }
  /// Stand-ins of the pod that have ended and still exist.
  [[nodiscard]] std::vector<model::SeenContainer> ended() const {
    const model::Runtime runtime(*shop_->node);
    auto all = runtime.containers();
    EXPECT_TRUE(all);
    if (!all) return {};
    std::erase_if(*all, [](const auto& one) { return one.state != RunState::exited; });
    std::vector<model::SeenContainer> found;
    for (const auto& one : *all) {
      const auto status = runtime.status(one.id);
      if (status && one.labels.contains(kStandInLabel)) found.push_back(*status);
    }
    return found;
  }
  /// Checks that it serves, and that the rules held the whole time.
  void endWell() {
    EXPECT_TRUE(serves()) << said(kPod);
    EXPECT_EQ(fallbacksOf(uidOf(kPod)).size(), 1U);
    kubelet_->remove(kPod, 3s);
    ASSERT_TRUE(kubelet_->waitUntilGone(kPod, kCeiling)) << said(kPod);
    ASSERT_NO_FATAL_FAILURE(expectNothingLeft());
    const auto seen = watch_->seen();
    EXPECT_THAT(seen.doubledContainers, IsEmpty());
    EXPECT_THAT(seen.doubledFallbacks, IsEmpty());
    EXPECT_LT(seen.longestAlone, kAlone);
    EXPECT_EQ(seen.longestBeside, 0ns) << "there is no real container";
    EXPECT_GT(seen.looks, 10U) << "it watched";
  }

  std::optional<NoDoubles> watch_;
  model::PodDefinition definition_;
};

TEST_F(StandInSurvival, ARestartOfKubeletChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(settle());
  const auto before = id();
  startKubelet();
  kubelet_->add(definition_);
  ASSERT_TRUE(readyWith(kPod, kStandIn)) << said(kPod);
  EXPECT_EQ(id(), before);
  EXPECT_EQ(kubelet_->events().of(kPod, "Killing").size(), 0U);
  // This kubelet ends the stand-in, as the one before would have.
  ASSERT_NO_FATAL_FAILURE(crash());
  ASSERT_NO_FATAL_FAILURE(endWell());
}

TEST_F(StandInSurvival, ARestartOfContainerdEndsNothing) {
  ASSERT_NO_FATAL_FAILURE(settle());
  const auto before = id();
  const auto fallback = fallbacksOf(uidOf(kPod));
  shop_->node->kill();
  EXPECT_TRUE(serves()) << said(kPod);
  E2E_CHECK(shop_->node->restart());
  ASSERT_TRUE(kubelet_->waitForRelist(kCeiling));
  ASSERT_TRUE(readyWith(kPod, kStandIn)) << said(kPod);
  EXPECT_EQ(id(), before);
  EXPECT_EQ(fallbacksOf(uidOf(kPod)), fallback);
  // The daemon still learns of its end, and reaches the new containerd.
  ASSERT_NO_FATAL_FAILURE(crash());
  ASSERT_NO_FATAL_FAILURE(endWell());
}

/// Without containerd the daemon cannot know whether its sandbox is still the pod's: both come back with
/// containerd.
TEST_F(StandInSurvival, AFallbackThatDiesWhileContainerdIsAwayIsReplaced) {
  ASSERT_NO_FATAL_FAILURE(settle());
  const auto before = id();
  shop_->node->kill();
  ASSERT_EQ(::kill(fallbackPid(*shop_->daemon, kPod), SIGKILL), 0);
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return !serves(); }));
  E2E_CHECK(shop_->node->restart());
  ASSERT_TRUE(isReplaced(before, kSecondTry)) << said(kPod);
  ASSERT_NO_FATAL_FAILURE(endWell());
}

/// The journal is in memory, and nothing runs any more; containerd still knows the containers.
TEST_F(StandInSurvival, AfterARebootThePodIsRescuedAgain) {
  ASSERT_NO_FATAL_FAILURE(settle());
  const auto before = id();
  const auto fallback = fallbacksOf(uidOf(kPod));
  kubelet_.reset();
  shop_->daemon->kill();
  shop_->node->loseAllButRoot();
  for (const pid_t pid : fallback) ::kill(pid, SIGKILL);
  std::filesystem::remove_all(shop_->daemon->runFolder());
  E2E_CHECK(shop_->node->restart());
  startKubelet();
  kubelet_->add(definition_);
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(isReplaced(before, kSecondTry)) << said(kPod);
  ASSERT_NO_FATAL_FAILURE(endWell());
}

TEST_F(StandInSurvival, APodWhoseSandboxIsMadeAgainIsRescuedAgain) {
  ASSERT_NO_FATAL_FAILURE(settle());
  const auto before = id();
  E2E_TRY(const auto old, shop_->kubelet->podOf(uidOf(kPod)));
  ASSERT_EQ(::kill(old.pausePid, SIGKILL), 0);
  ASSERT_TRUE(isReplaced(before, kSecondTry)) << said(kPod);
  E2E_TRY(const auto made, shop_->kubelet->podOf(uidOf(kPod)));
  EXPECT_NE(made.sandboxId, old.sandboxId);
  EXPECT_EQ(kubelet_->status(kPod)->ip, made.ip);
  ASSERT_NO_FATAL_FAILURE(endWell());
}

TEST_F(StandInSurvival, GarbageCollectionsTakeNothingThatIsNeeded) {
  ASSERT_NO_FATAL_FAILURE(settle());
  ASSERT_NO_FATAL_FAILURE(crash());
  ASSERT_NO_FATAL_FAILURE(crash());
  const auto running = id();
  EXPECT_EQ(kubelet_->collectContainers(), 0) << "only the last ended one is kept";
  // As kubelet does on a full disk.
  for (const auto& one : ended()) E2E_CHECK(shop_->kubelet->removeContainer(one.id));
  EXPECT_THAT(ended(), IsEmpty());
  EXPECT_EQ(kubelet_->collectImages(), 0) << "the stand-in's image is in use";
  ASSERT_TRUE(kubelet_->waitForRelist(kCeiling));
  ASSERT_TRUE(readyWith(kPod, kStandIn)) << said(kPod);
  EXPECT_EQ(id(), running);
  ASSERT_NO_FATAL_FAILURE(crash());
  ASSERT_NO_FATAL_FAILURE(endWell());
}

/// crictl rm -f, and then kubelet's garbage collection of unused images.
TEST_F(StandInSurvival, AStandInThatAPersonRemovesIsCreatedAgain) {
  ASSERT_NO_FATAL_FAILURE(settle());
  const auto before = id();
  const auto fallback = fallbacksOf(uidOf(kPod));
  E2E_CHECK(shop_->kubelet->stopContainer(before, 0s));
  // The daemon has seen its end and also removes it; containerd allows only one of the two at a time.
  static_cast<void>(shop_->kubelet->removeContainer(before));
  ASSERT_TRUE(kubelet_->waitFor(
      kPod, [](const PodStatus& pod) { return !pod.ready; }, kCeiling));
  EXPECT_TRUE(serves()) << said(kPod);
  kubelet_->collectImages();
  E2E_TRY(const bool kept, shop_->kubelet->imagePresent(kStandIn));
  EXPECT_FALSE(kept);
  ASSERT_TRUE(isReplaced(before, kSecondTry)) << said(kPod);
  EXPECT_EQ(fallbacksOf(uidOf(kPod)), fallback) << "it kept serving";
  EXPECT_EQ(standIns("rejected"), 1);
  ASSERT_NO_FATAL_FAILURE(endWell());
}

/// kubectl logs --previous reads the log path of the last ended container, kubectl logs that of the running
/// one.
TEST_F(StandInSurvival, TheLogOfADeadFallbackStaysWhileTheNextOneRuns) {
  ASSERT_NO_FATAL_FAILURE(settle());
  E2E_TRY(const auto pod, shop_->kubelet->podOf(uidOf(kPod)));
  ASSERT_TRUE(httpGet(pod.ip, Shop::kPort, "/of-the-first"));
  const auto first = id();
  ASSERT_NO_FATAL_FAILURE(crash());
  ASSERT_TRUE(httpGet(pod.ip, Shop::kPort, "/of-the-second"));
  const auto dead = ended();
  ASSERT_EQ(dead.size(), 1U);
  EXPECT_EQ(dead[0].id, first);
  const model::Runtime runtime(*shop_->node);
  E2E_TRY(const auto running, runtime.status(id()));
  EXPECT_EQ(dead[0].logPath, pod.logDirectory / "checkout-fallback" / "0.log");
  EXPECT_EQ(running.logPath, pod.logDirectory / "checkout-fallback" / "1.log");
  const auto has = [](const model::SeenContainer& one, const char* line) {
    return test::contentOf(one.logPath).find(line) != std::string::npos;
  };
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return has(running, "GET /of-the-second "); }));
  EXPECT_TRUE(has(dead[0], "GET /of-the-first "));
  EXPECT_FALSE(has(dead[0], "GET /of-the-second "));
  EXPECT_FALSE(has(running, "GET /of-the-first "));
  // kubelet counts the logs in this folder as earlier containers of that name, and would also count ours.
  EXPECT_TRUE(!std::filesystem::exists(pod.logDirectory / "checkout") ||
              std::filesystem::is_empty(pod.logDirectory / "checkout"));
  ASSERT_NO_FATAL_FAILURE(endWell());
}

class Rejected : public StandInSurvival {
 protected:
  void reject(const model::PodDefinition& pod,
              const std::string& message = "Container checkout definition changed, will be restarted") {
    watch_.emplace(*shop_->node);
    kubelet_->add(pod);
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return standIns("rejected") >= 1; })) << said(kPod);
    ASSERT_TRUE(killed(message));
  }
  [[nodiscard]] bool killed(const std::string& message) const {
    const auto all = kubelet_->events().of(kPod, "Killing");
    return std::any_of(all.begin(), all.end(), [&](const auto& one) { return one.message == message; });
  }
  /// Checks everything that a person reads.
  void expectSaid(const std::string& words) const {
    const auto says = [&](const std::string& text) { return text.find(words) != std::string::npos; };
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return says(explanationOf(*shop_->daemon, kPod)); }))
        << explanationOf(*shop_->daemon, kPod);
    const auto status = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    ASSERT_TRUE(status);
    const auto root = json::parse(status->body);
    const auto& settlement = root.at("recoveries").at(0).at("settlement");
    EXPECT_EQ(settlement.at("state").as_string(), "rejected");
    EXPECT_TRUE(says(std::string(settlement.at("why").as_string()))) << status->body;
    EXPECT_TRUE(says(shop_->daemon->logText())) << shop_->daemon->logText();
  }
};

TEST_F(Rejected, AnOldKubeletIsNotTriedForever) {
  kubeletOptions_.version = model::Version::v1_30;
  ASSERT_NO_FATAL_FAILURE(open(0ms));
  ASSERT_NO_FATAL_FAILURE(reject(podOf(kPod)));
  EXPECT_TRUE(serves()) << said(kPod);
  EXPECT_THAT(explanationOf(*shop_->daemon, kPod),
              HasSubstr("kubelet did not adopt it: it was asked to end"));
  ASSERT_TRUE(waitUntil(kSecondTry, [&] { return standIns("rejected") == 2; })) << said(kPod);
  expectSaid("it is not made again until the configuration changes");
  expectSaid("likely by a kubelet before 1.31");
  for (int relists = 0; relists < 3; ++relists) ASSERT_TRUE(kubelet_->waitForRelist(kCeiling));
  EXPECT_EQ(standIns("started"), 2);
  EXPECT_EQ(kubelet_->events().of(kPod, "Killing").size(), 2U);
  ASSERT_NO_FATAL_FAILURE(endWell());
}

/// From 1.33 on kubelet applies the pod's limits to the container; this container has to be restarted for
/// that.
TEST_F(Rejected, AResizePolicyThatRestartsIsNamed) {
  kubeletOptions_.version = model::Version::v1_33;
  ASSERT_NO_FATAL_FAILURE(open(0ms));
  auto pod = podOf(kPod);
  pod.containers[0].spec.memoryBytes = 64 << 20;
  pod.containers[0].resize = model::ResizePolicy::restart_container;
  ASSERT_NO_FATAL_FAILURE(reject(pod, "Container checkout resize requires restart, will be restarted"));
  expectSaid("resizePolicy");
  ASSERT_NO_FATAL_FAILURE(endWell());
}

/// The workload's image differs from the text in the pod.
TEST_F(Rejected, AnotherHashIsNamed) {
  ASSERT_NO_FATAL_FAILURE(open(0ms));
  auto pod = podOf(kPod);
  pod.containers[0].spec.image += "@sha256:" + std::string(64, '0');
  ASSERT_NO_FATAL_FAILURE(reject(pod));
  expectSaid("a different hash (the workload's image is not the pod's text)");
  expectSaid("see Rejections in docs/stand-in.md");
  EXPECT_THAT(explanationOf(*shop_->daemon, kPod), Not(HasSubstr("it is not made again")));
  ASSERT_NO_FATAL_FAILURE(endWell());
}

}  // namespace
}  // namespace fallbackd::e2e
