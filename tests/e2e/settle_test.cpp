// SPDX-License-Identifier: Apache-2.0
// Kubernetes sees the rescued pod: stand-ins under kubelet's rules
// (tests/support/kubelet), with a Service that follows the pod's readiness.
#include "e2e_gtest.hpp"
#include "kubelet/model.hpp"
#include "request_load.hpp"
#include "router.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <memory>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using model::PodStatus;

constexpr auto kCeiling = 30s;
constexpr unsigned kPerSecond = 100;

class Settle : public testing::Test {
protected:
  void open(std::chrono::milliseconds lag, const std::string &moreArgs = "") {
    ShopOptions options;
    options.workloadExtra = "  settle: always\n";
    E2E_TRY(shop_, Shop::open(options));
    if (!moreArgs.empty()) {
      auto changed = shop_->daemonOptions(shop_->image());
      const std::string args = "args: [--port=8080";
      changed.workloads.replace(changed.workloads.find(args), args.size(),
                                args + moreArgs);
      E2E_CHECK(shop_->daemon->stop());
      E2E_CHECK(shop_->daemon->rewriteConfig(changed));
      E2E_CHECK(shop_->daemon->restart());
    }
    E2E_TRY(router_, Router::start(Shop::kPort, lag));
    model::Options kubelet;
    kubelet.times = kubelet.times.scaled(0.2);
    kubelet_ = std::make_unique<model::KubeletModel>(*shop_->kubelet, kubelet);
    kubelet_->subscribe([this](const PodStatus &one) { router_->update(one); });
  }
  void TearDown() override {
    if (HasFailure() && kubelet_)
      std::printf("%s", kubelet_->events().text().c_str());
    kubelet_.reset();
  }
  void add(const std::string &name) {
    model::PodDefinition pod;
    pod.pod = checkoutPod(name);
    pod.containers.resize(1);
    pod.containers[0].spec = shop_->containerSpec();
    pod.containers[0].readiness = model::Probe{.kind = model::Probe::Kind::http,
                                               .port = Shop::kPort,
                                               .path = "/healthz",
                                               .period = 1s};
    kubelet_->add(pod);
  }
  [[nodiscard]] bool readyWith(const std::string &name,
                               const std::string &image) const {
    return kubelet_->waitFor(
        name,
        [&](const PodStatus &pod) {
          return pod.ready && pod.containers[0].image == image;
        },
        kCeiling);
  }

  static constexpr const char *kStandIn = "fallbackd.io/checkout:1.8.3";

  std::unique_ptr<Shop> shop_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<model::KubeletModel> kubelet_;
};

TEST_F(Settle, TheFallbackIsRunningReadyAndRouted) {
  ASSERT_NO_FATAL_FAILURE(open(100ms));
  add("web-0");
  ASSERT_TRUE(readyWith("web-0", kStandIn)) << shop_->daemon->logText();
  EXPECT_EQ(kubelet_->status("web-0")->text(), "1/1 Running, restarts 0");
  ASSERT_TRUE(router_->waitForEndpoints(1, kCeiling));
  RequestLoad load(router_->port(), kPerSecond);
  ASSERT_TRUE(load.waitForAnswers(kPerSecond, "fallback", kCeiling));
  const auto counts = load.finish();
  EXPECT_EQ(counts.lost, 0U);
  EXPECT_EQ(kubelet_->events().of("web-0", "Killing").size(), 0U);
}

TEST_F(Settle, ADeletedPodDrainsForFiveSeconds) {
  ASSERT_NO_FATAL_FAILURE(open(1s, ", --drain=5"));
  for (const char *const name : {"web-0", "web-1"}) {
    add(name);
    ASSERT_TRUE(readyWith(name, kStandIn)) << shop_->daemon->logText();
  }
  ASSERT_TRUE(router_->waitForEndpoints(2, kCeiling));
  RequestLoad load(router_->port(), kPerSecond);
  // A stop within the stand-in's first 5 s would be taken for a rejection.
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

TEST_F(Settle, TheRealContainerTakesOver) {
  ASSERT_NO_FATAL_FAILURE(open(100ms));
  add("web-0");
  ASSERT_TRUE(readyWith("web-0", kStandIn)) << shop_->daemon->logText();
  ASSERT_TRUE(router_->waitForEndpoints(1, kCeiling));
  RequestLoad load(router_->port(), kPerSecond);
  ASSERT_TRUE(load.waitForAnswers(kPerSecond, "fallback", kCeiling));
  E2E_CHECK(shop_->registry.start());
  E2E_CHECK(shop_->registry.pushImage("shop/checkout:1.8.3",
                                      testProgram("shop-httpd-1.8.3")));
  ASSERT_TRUE(readyWith("web-0", shop_->image())) << shop_->daemon->logText();
  ASSERT_TRUE(load.waitForAnswers(kPerSecond, "container", kCeiling));
  const auto counts = load.finish();
  RecordProperty("lost", std::to_string(counts.lost));
  std::printf("one replica, 100 requests a second: %u of %u lost\n",
              counts.lost, counts.sent);
  EXPECT_EQ(kubelet_->events().of("web-0", "Killing").size(), 0U);
}

} // namespace
} // namespace fallbackd::e2e
