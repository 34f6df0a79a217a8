// SPDX-License-Identifier: Apache-2.0
// Kubernetes sees the rescued pod: Running, Ready and routed, ended with grace, and with the fallback's exit
// codes.
#include "content_of.hpp"
#include "http.hpp"
#include "no_doubles.hpp"
#include "settle_fixture.hpp"
#include "times_in.hpp"
#include "wait.hpp"

#include <csignal>
#include <filesystem>
#include <string>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using model::PodStatus;

constexpr unsigned kPerSecond = 100;

using Settle = SettleNode;

TEST_F(Settle, TheFallbackIsRunningReadyAndRouted) {
  ASSERT_NO_FATAL_FAILURE(open(100ms));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  EXPECT_EQ(kubelet_->status("web-0")->text(), "1/1 Running, restarts 0");
  ASSERT_TRUE(router_->waitForEndpoints(1, kCeiling));
  RequestLoad load(router_->port(), kPerSecond);
  ASSERT_TRUE(load.waitForAnswers(kPerSecond, "fallback", kCeiling));
  const auto counts = load.finish();
  EXPECT_EQ(counts.lost, 0U);
  EXPECT_EQ(kubelet_->events().of("web-0", "Killing").size(), 0U);
}

TEST_F(Settle, ADeletedPodDrainsForFiveSeconds) {
  ASSERT_NO_FATAL_FAILURE(open(1s, "", {"--drain=5"}));
  for (const char* const name : {"web-0", "web-1"}) ASSERT_NO_FATAL_FAILURE(settled(name));
  ASSERT_TRUE(router_->waitForEndpoints(2, kCeiling));
  RequestLoad load(router_->port(), kPerSecond);
  // A stop within the stand-in's first 5 s would count as a rejection.
  ASSERT_TRUE(load.waitForAnswers(6 * kPerSecond, "fallback", kCeiling));
  kubelet_->remove("web-0");
  ASSERT_TRUE(kubelet_->waitUntilGone("web-0", kCeiling));
  const auto counts = load.finish();
  EXPECT_EQ(counts.lost, 0U) << shop_->daemon->logText();
  const auto killing = kubelet_->events().of("web-0", "Killing");
  const auto stopping = kubelet_->events().of("web-0", "StoppingSandbox");
  ASSERT_EQ(killing.size(), 1U);
  ASSERT_EQ(stopping.size(), 1U);
  EXPECT_GE(stopping[0].at - killing[0].at, 4s) << "it drained";
}

/// The runtime ends the stand-in like any program that ignores SIGTERM, and the fallback with the pod.
TEST_F(Settle, WithoutADaemonAPodEndsAtTheEndOfItsGrace) {
  ASSERT_NO_FATAL_FAILURE(open(0ms));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  const auto uid = uidOf("web-0");
  ASSERT_EQ(fallbacksOf(uid).size(), 1U);
  shop_->daemon->kill();
  kubelet_->remove("web-0", 3s);
  ASSERT_TRUE(kubelet_->waitUntilGone("web-0", kCeiling));
  const auto killing = kubelet_->events().of("web-0", "Killing");
  const auto stopping = kubelet_->events().of("web-0", "StoppingSandbox");
  ASSERT_EQ(killing.size(), 1U);
  ASSERT_EQ(stopping.size(), 1U);
  EXPECT_GE(stopping[0].at - killing[0].at, 2900ms);
  EXPECT_TRUE(fallbacksOf(uid).empty());
  ASSERT_NO_FATAL_FAILURE(expectNothingLeft());
}

/// Its stand-in has made way, and kubelet is about to create the real container.
TEST_F(Settle, APodThatIsDeletedDuringItsHandBackLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, "", {}, 1));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  const auto uid = uidOf("web-0");
  ASSERT_NO_FATAL_FAILURE(bringImage());
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return explanationOf(*shop_->daemon, "web-0").find("its image can be pulled") != std::string::npos;
  })) << said("web-0");
  kubelet_->remove("web-0", 2s);
  ASSERT_TRUE(kubelet_->waitUntilGone("web-0", kCeiling)) << said("web-0");
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return fallbacksOf(uid).empty(); })) << said("web-0");
  ASSERT_NO_FATAL_FAILURE(expectNothingLeft());
}

TEST_F(Settle, APodThatIsDeletedBetweenTwoRunsOfItsFallbackLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, "  restart: {initialDelay: 1h, maxDelay: 1h}\n"));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  const auto uid = uidOf("web-0");
  ASSERT_EQ(::kill(fallbackPid(*shop_->daemon, "web-0"), SIGKILL), 0);
  ASSERT_TRUE(kubelet_->waitFor(
      "web-0", [](const PodStatus& pod) { return !pod.ready; }, kCeiling))
      << said("web-0");
  kubelet_->remove("web-0", 2s);
  ASSERT_TRUE(kubelet_->waitUntilGone("web-0", kCeiling)) << said("web-0");
  EXPECT_TRUE(fallbacksOf(uid).empty());
  ASSERT_NO_FATAL_FAILURE(expectNothingLeft());
}

TEST(Settles, AutoWithoutAnApiServerIsReportedOnceAsNever) {
  E2E_TRY(const auto shop, Shop::open({}));
  const auto times = [&] { return test::timesIn(shop->daemon->logText(), "settle: auto has no effect"); };
  EXPECT_EQ(times(), 1U);
  auto changed = shop->daemonOptions(shop->image());
  changed.extra += "# the same in other words\n";
  E2E_CHECK(shop->daemon->rewriteConfig(changed));
  ASSERT_TRUE(waitUntil(30s, [&] {
    return shop->daemon->logText().find("configuration read") != std::string::npos;
  })) << shop->daemon->logText();
  EXPECT_EQ(times(), 1U) << shop->daemon->logText();
  const auto status = httpGet("127.0.0.1", shop->daemon->telemetryPort(), "/status");
  ASSERT_TRUE(status);
  const auto root = boost::json::parse(status->body);
  EXPECT_NE(std::string(root.at("settle").at("problem").as_string()).find("kubernetes.sources"),
            std::string::npos);
}

/// Ends the fallback with that signal, and waits until kubelet shows its successor.
class Ends : public SettleNode {
 protected:
  model::ContainerState endBy(int signal, int restarts) {
    EXPECT_EQ(::kill(fallbackPid(*shop_->daemon, "web-0"), signal), 0);
    return endOf(restarts);
  }
  model::ContainerState endOf(int restarts) {
    const bool back = kubelet_->waitFor(
        "web-0",
        [&](const PodStatus& pod) {
          const auto& one = pod.containers[0];
          return pod.ready && one.image == kStandIn && one.restartCount == restarts && one.last;
        },
        kCeiling);
    EXPECT_TRUE(back) << kubelet_->status("web-0")->text() << "\n" << shop_->daemon->logText();
    return back ? *kubelet_->status("web-0")->containers[0].last : model::ContainerState();
  }
};

TEST_F(Ends, ItsExitCodeAndItsSignalAreShown) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, "  restart: {initialDelay: 50ms}\n"));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  const auto killed = endBy(SIGKILL, 1);
  EXPECT_EQ(killed.exitCode, 128 + SIGKILL);
  EXPECT_EQ(killed.reason, "Error");
  const auto exited = endBy(SIGTERM, 2);
  EXPECT_EQ(exited.exitCode, 0) << "shop-httpd exits with 0";
  EXPECT_EQ(exited.reason, "Completed");
  EXPECT_EQ(kubelet_->status("web-0")->text(), "1/1 Running, restarts 2");
  EXPECT_EQ(kubelet_->events().of("web-0", "Killing").size(), 0U);
}

TEST_F(Ends, AnOomKillIsShown) {
  ASSERT_NO_FATAL_FAILURE(
      open(0ms, "  restart: {initialDelay: 50ms}\n  resources: {memory: 32Mi}\n", {"--hungry"}));
  ASSERT_NO_FATAL_FAILURE(settled("web-0"));
  EXPECT_FALSE(httpGet(kubelet_->status("web-0")->ip, Shop::kPort, "/eat", 20s));
  const auto killed = endOf(1);
  EXPECT_EQ(killed.exitCode, 128 + SIGKILL);
  // containerd may learn of the kill after it has learned of the end.
  EXPECT_TRUE(kubelet_->waitFor(
      "web-0",
      [](const PodStatus& pod) {
        const auto& last = pod.containers[0].last;
        return last && last->reason == "OOMKilled";
      },
      kCeiling))
      << kubelet_->status("web-0")->containers[0].last.value_or(model::ContainerState()).reason;
}

/// What a collector reads through the link in /var/log/containers.
class SettleLogs : public SettleNode {
 protected:
  void open() {
    ASSERT_NO_FATAL_FAILURE(SettleNode::open(0ms));
    ASSERT_NO_FATAL_FAILURE(settled("web-0"));
    const auto id = kubelet_->status("web-0")->containers[0].containerId;
    const auto link = kubelet_->logLinks() / ("web-0_shop_checkout-" + id + ".log");
    // kubelet may have looked before the daemon knew that the stand-in had started.
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return fs::is_symlink(link); })) << link;
    log_ = fs::read_symlink(link);
  }
  void ask(const std::string& path) {
    const auto answer = httpGet(kubelet_->status("web-0")->ip, Shop::kPort, path);
    ASSERT_TRUE(answer) << answer.error().message();
  }
  /// How often the log has the line, in all rotated files.
  std::size_t lines(const std::string& path) const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(log_.parent_path())) {
      count += test::timesIn(test::contentOf(entry.path()), "GET " + path + " ");
    }
    return count;
  }
  /// Whether the daemon has taken over an earlier daemon's stand-in.
  bool adopted() const { return standIns("adopted") == 1; }
  fs::path log_;
};

TEST_F(SettleLogs, NoLineIsLostWhenKubeletRotatesOrTheDaemonIsRestarted) {
  ASSERT_NO_FATAL_FAILURE(open());
  int number = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) ASSERT_NO_FATAL_FAILURE(ask("/n" + std::to_string(number++)));
    EXPECT_EQ(kubelet_->rotateLogs(0), 1);
    for (int i = 0; i < 10; ++i) ASSERT_NO_FATAL_FAILURE(ask("/n" + std::to_string(number++)));
    const auto last = "GET /n" + std::to_string(number - 1) + " ";
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return test::contentOf(log_).find(last) != std::string::npos; }))
        << "kubectl logs shows the file that has this name";
    if (round != 1) continue;
    shop_->daemon->kill();
    ASSERT_NO_FATAL_FAILURE(ask("/n" + std::to_string(number++)));
    E2E_CHECK(shop_->daemon->restart());
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return adopted(); })) << shop_->daemon->logText();
  }
  for (int i = 0; i < number; ++i) {
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return lines("/n" + std::to_string(i)) == 1; })) << i;
  }
}

}  // namespace
}  // namespace fallbackd::e2e
