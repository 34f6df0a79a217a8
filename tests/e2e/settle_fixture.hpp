// SPDX-License-Identifier: Apache-2.0
// A node with a kubelet that follows kubelet's rules (tests/support/kubelet), and a Service that follows the
// readiness of its pods. Every fallback gets a stand-in.
#pragma once

#include "base/strings.hpp"
#include "domain/stand_in.hpp"
#include "e2e_gtest.hpp"
#include "kubelet/model.hpp"
#include "request_load.hpp"
#include "router.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::e2e {

class SettleNode : public testing::Test {
 protected:
  static constexpr std::chrono::seconds kCeiling{30};
  static constexpr const char* kStandIn = "fallbackd.io/checkout:1.8.3";

  /// `extra`: more lines of the workload. `args`: for the fallback and the container. `scale`: for kubelet's
  /// times.
  void open(std::chrono::milliseconds lag, const std::string& extra = "", std::vector<std::string> args = {},
            double scale = 0.2) {
    kubelet_.reset();
    router_.reset();
    shop_.reset();
    ShopOptions options;
    options.workloadExtra = "  settle: always\n" + extra;
    options.node = node_;
    options.moreArgs = std::move(args);
    kubeletOptions_.folder = makeRunDir("kubelet-model");
    options.logLinks = kubeletOptions_.folder / "containers";
    E2E_TRY(shop_, Shop::open(options));
    E2E_TRY(router_, Router::start(Shop::kPort, lag));
    kubeletOptions_.times = model::Times().scaled(scale);
    startKubelet();
  }
  /// When called a second time: kubelet after a restart, which does not know any pod yet.
  void startKubelet() {
    kubelet_.reset();
    kubelet_ = std::make_unique<model::KubeletModel>(*shop_->kubelet, kubeletOptions_);
    kubelet_->subscribe([this](const model::PodStatus& one) { router_->update(one); });
  }
  void TearDown() override {
    if (HasFailure() && kubelet_) std::printf("%s", kubelet_->events().text().c_str());
    kubelet_.reset();
  }
  void add(const std::string& name, model::PullPolicy pull = model::PullPolicy::if_not_present) {
    kubelet_->add(podOf(name, pull));
  }
  [[nodiscard]] model::PodDefinition podOf(const std::string& name,
                                           model::PullPolicy pull = model::PullPolicy::if_not_present) const {
    model::PodDefinition pod;
    pod.pod = checkoutPod(name);
    pod.containers.resize(1);
    pod.containers[0].spec = shop_->containerSpec();
    pod.containers[0].pull = pull;
    // On a loaded node the answer may take some seconds; the pod is still healthy.
    pod.containers[0].readiness = model::Probe{.kind = model::Probe::Kind::http,
                                               .port = Shop::kPort,
                                               .path = "/healthz",
                                               .period = std::chrono::seconds(1),
                                               .timeout = std::chrono::seconds(5),
                                               .failureThreshold = 10};
    return pod;
  }
  [[nodiscard]] bool readyWith(const std::string& name, const std::string& image,
                               std::chrono::seconds ceiling = kCeiling) const {
    return kubelet_->waitFor(
        name, [&](const model::PodStatus& pod) { return pod.ready && pod.containers[0].image == image; },
        ceiling);
  }
  void settled(const std::string& name, model::PullPolicy pull = model::PullPolicy::if_not_present) {
    add(name, pull);
    ASSERT_TRUE(readyWith(name, kStandIn)) << shop_->daemon->logText();
  }
  [[nodiscard]] std::string uidOf(const std::string& name) const {
    const auto status = kubelet_->status(name);
    return status ? status->uid : std::string();
  }
  /// For the message of a failed test.
  [[nodiscard]] std::string said(const std::string& name) const {
    const auto status = kubelet_->status(name);
    return name + ": " + (status ? status->text() : "no status") + "\n" + shop_->daemon->logText();
  }
  /// How many stand-ins of this daemon had this result: "started", "rejected".
  [[nodiscard]] double standIns(const std::string& result) const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, "fallbackd_stand_ins_total", "result=\"" + result + "\"") : -1;
  }
  /// Once no pod is left: a line for each remaining stand-in, stand-in's image or link. What a daemon that
  /// died could not remove, the next one removes when it starts.
  [[nodiscard]] std::string leftovers() const {
    std::string left;
    waitUntil(kCeiling, [&] {
      left.clear();
      // Sandboxes and real containers are the test kubelet's own.
      const auto containers =
          shop_->node->ctr({"containers", "ls", "-q", "labels.\"" + std::string(kStandInLabel) + "\""});
      const auto images = shop_->node->ctr({"images", "ls", "-q"});
      if (!containers || !images) left = "containerd does not answer\n";
      if (containers && !trim(*containers).empty()) left += *containers;
      if (images && images->find("fallbackd.io/") != std::string::npos) left += *images;
      for (const auto& entry : std::filesystem::directory_iterator(shop_->options.logLinks)) {
        left += entry.path().string() + "\n";
      }
      return left.empty();
    });
    return left;
  }
  /// The image of a pod that has just gone stays for up to a minute and a half; the next daemon removes it at
  /// once.
  void expectNothingLeft() {
    shop_->daemon->kill();
    E2E_CHECK(shop_->daemon->restart());
    EXPECT_EQ(leftovers(), "") << shop_->daemon->logText();
  }
  /// Starts the registry again.
  void bringImage() {
    E2E_CHECK(shop_->registry.start());
    E2E_CHECK(shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  }

  NodeOptions node_ = nodeOfReport();
  model::Options kubeletOptions_;  // folder and times are set by open()
  std::unique_ptr<Shop> shop_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<model::KubeletModel> kubelet_;
};

}  // namespace fallbackd::e2e
