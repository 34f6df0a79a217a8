// SPDX-License-Identifier: Apache-2.0
// Commands that kubelet executes in a container, when a stand-in has the fallback's binary: probes and the
// preStop hook.
#include "http.hpp"
#include "settle_fixture.hpp"
#include "wait.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using model::PodStatus;
using model::Probe;

constexpr const char* kProgram = "/bin/shop";
constexpr const char* kWithProgram = "fallbackd.io/checkout:1.8.3.exec-";
constexpr std::uint16_t kHooksPort = 8081;
// A stop within this time counts as a rejection.
constexpr auto kAdoptionLimit = 5s;

class SettleExecBase : public SettleNode {
 protected:
  static std::string workload() { return std::string("  standIn: {path: ") + kProgram + "}\n"; }
  static Probe executing(std::vector<std::string> command) {
    return {.kind = Probe::Kind::exec, .command = std::move(command), .period = 500ms, .timeout = 5s};
  }
  bool becomesReady(const std::string& name, int restarts = 0) const {
    return kubelet_->waitFor(
        name,
        [&](const PodStatus& pod) {
          const auto& one = pod.containers[0];
          return pod.ready && one.image.starts_with(kWithProgram) && one.restartCount == restarts;
        },
        kCeiling);
  }
  std::string said() const { return kubelet_->events().text() + shop_->daemon->logText(); }
};

class SettleExec : public SettleExecBase, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    node_ = {};
    if (GetParam() == "installed") return;
    node_.binDir = std::filesystem::path(FALLBACKD_CONTAINERDS) / GetParam();
    if (!std::filesystem::exists(*node_.binDir)) GTEST_SKIP() << "no " << *node_.binDir;
  }
};

TEST_P(SettleExec, AProbeMakesItReadyAndAHookRunsBeforeItsEnd) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, workload()));
  auto pod = podOf("web-0");
  pod.containers[0].readiness = executing({kProgram, "--health-check"});
  pod.containers[0].liveness = executing({kProgram, "--health-check"});
  pod.containers[0].preStop = {kProgram, "--health-check"};
  kubelet_->add(pod);
  ASSERT_TRUE(becomesReady("web-0")) << said();
  EXPECT_EQ(kubelet_->events().of("web-0", "Unhealthy").size(), 0U) << said();
  EXPECT_EQ(kubelet_->events().of("web-0", "Killing").size(), 0U);
  kubelet_->remove("web-0");
  ASSERT_TRUE(kubelet_->waitUntilGone("web-0", kCeiling));
  EXPECT_EQ(kubelet_->events().of("web-0", "FailedPreStopHook").size(), 0U) << said();
}

INSTANTIATE_TEST_SUITE_P(Containerd, SettleExec, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

TEST_F(SettleExecBase, AFailedLivenessProbeRestartsTheFallback) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, workload() + "  restart: {initialDelay: 50ms}\n"));
  auto pod = podOf("web-0");
  auto& liveness = pod.containers[0].liveness;
  liveness = executing({kProgram, "--health-check", "--fail-health-check"});
  liveness->initialDelay = kAdoptionLimit + 1s;
  liveness->failureThreshold = 1;
  kubelet_->add(pod);
  ASSERT_TRUE(becomesReady("web-0")) << said();
  const auto before = fallbackPid(*shop_->daemon, "web-0");
  ASSERT_TRUE(becomesReady("web-0", 1)) << said();
  EXPECT_NE(fallbackPid(*shop_->daemon, "web-0"), before);
  const auto killing = kubelet_->events().of("web-0", "Killing");
  ASSERT_GE(killing.size(), 1U);
  EXPECT_EQ(killing[0].message, "Container checkout failed liveness probe, will be restarted");
}

TEST_F(SettleExecBase, AHookRunsWhileTheFallbackServesAndIsBoundedByTheGrace) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, workload(), {"--drain=1"}));
  auto pod = podOf("web-0");
  // A hook that does not end: it serves on a different port of the pod.
  pod.containers[0].preStop = {kProgram, "--port=" + std::to_string(kHooksPort), "--role=preStop"};
  pod.grace = kAdoptionLimit + 1s;
  kubelet_->add(pod);
  ASSERT_TRUE(becomesReady("web-0")) << said();
  const auto ip = kubelet_->status("web-0")->ip;
  const auto answers = [&](std::uint16_t port, const std::string& role) {
    const auto answer = httpGet(ip, port, "/", 5s);
    return answer && answer->body.find("role=" + role) != std::string::npos;
  };
  kubelet_->remove("web-0");
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return answers(kHooksPort, "preStop"); })) << said();
  EXPECT_TRUE(answers(Shop::kPort, "fallback")) << "it ends after the hook";
  ASSERT_TRUE(kubelet_->waitUntilGone("web-0", kCeiling));
  EXPECT_EQ(kubelet_->events().of("web-0", "FailedPreStopHook").size(), 1U);
  EXPECT_FALSE(answers(kHooksPort, "preStop"));
  const auto killing = kubelet_->events().of("web-0", "Killing");
  const auto stopping = kubelet_->events().of("web-0", "StoppingSandbox");
  ASSERT_EQ(killing.size(), 1U);
  ASSERT_EQ(stopping.size(), 1U);
  // The hook's time, and one second of the fallback.
  EXPECT_GE(stopping[0].at - killing[0].at, pod.grace + 500ms) << said();
}

TEST_F(SettleNode, AnOomKillOfAnEarlierDaemonsFallbackIsShown) {
  ASSERT_NO_FATAL_FAILURE(
      open(0ms, "  restart: {initialDelay: 50ms}\n  resources: {memory: 32Mi}\n", {"--hungry"}));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return standIns("adopted") == 1; })) << shop_->daemon->logText();
  EXPECT_FALSE(httpGet(kubelet_->status("web-0")->ip, Shop::kPort, "/eat", 20s));
  EXPECT_TRUE(kubelet_->waitFor(
      "web-0",
      [](const PodStatus& pod) {
        const auto& one = pod.containers[0];
        return pod.ready && one.restartCount == 1 && one.last && one.last->reason == "OOMKilled" &&
               one.last->exitCode == 128 + 9;
      },
      kCeiling))
      << kubelet_->status("web-0")->containers[0].last.value_or(model::ContainerState()).reason
      << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
