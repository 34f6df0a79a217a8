// SPDX-License-Identifier: Apache-2.0
// A node whose kubelet keeps kubelet's rules (tests/support/kubelet), with a Service that follows the
// readiness of its pods. Every fallback gets a stand-in.
#pragma once

#include "e2e_gtest.hpp"
#include "kubelet/model.hpp"
#include "request_load.hpp"
#include "router.hpp"
#include "run_dir.hpp"
#include "shop.hpp"

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

  /// `extra`: more lines of the workload. `args`: of the fallback and of the container. `scale`: of
  /// kubelet's times.
  void open(std::chrono::milliseconds lag, const std::string& extra = "", std::vector<std::string> args = {},
            double scale = 0.2) {
    kubelet_.reset();
    router_.reset();
    shop_.reset();
    ShopOptions options;
    options.workloadExtra = "  settle: always\n" + extra;
    options.node = node_;
    options.moreArgs = std::move(args);
    model::Options kubelet;
    kubelet.folder = makeRunDir("kubelet-model");
    options.logLinks = kubelet.folder / "containers";
    E2E_TRY(shop_, Shop::open(options));
    E2E_TRY(router_, Router::start(Shop::kPort, lag));
    kubelet.times = kubelet.times.scaled(scale);
    kubelet_ = std::make_unique<model::KubeletModel>(*shop_->kubelet, kubelet);
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
    // A loaded node may keep the answer for some seconds; that says nothing about the pod.
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
  /// The registry is back.
  void bringImage() {
    E2E_CHECK(shop_->registry.start());
    E2E_CHECK(shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  }

  NodeOptions node_;
  std::unique_ptr<Shop> shop_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<model::KubeletModel> kubelet_;
};

}  // namespace fallbackd::e2e
