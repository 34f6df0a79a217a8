// SPDX-License-Identifier: Apache-2.0
// The shop on a node of a cluster: an API server and a kubelet endpoint describe its pods.
#pragma once

#include "e2e_gtest.hpp"
#include "kube/fake_api_server.hpp"
#include "kube/fake_kubelet.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <unistd.h>

#include <boost/json.hpp>

namespace fallbackd::e2e {

inline std::string nodeName() {
  std::array<char, 256> name{};
  static_cast<void>(::gethostname(name.data(), name.size() - 1));
  return name.data();
}

class KubeNodeTest : public testing::Test {
 protected:
  static constexpr std::chrono::seconds kCeiling{30};

  void SetUp() override {
    api_.acceptTokens({"secret-1"});
    kubelet_.acceptTokens({"secret-1"});
    write("token", "secret-1");
    write("ca.crt", authority_.certificate());
    write("kubelet.crt", own_.certificate);
    write("kubeconfig",
          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
          "clusters: [{name: k, cluster: {server: 'https://" +
              api_.address() +
              "', certificate-authority: ca.crt}}]\nusers: [{name: u, user: {tokenFile: token}}]\n");
    E2E_TRY(shop_, Shop::open(shopOptions_));
  }

  /// Restarts the daemon with these sources and the options that `change` gives it.
  template <class Change>
  void runDaemon(const std::string& sources, Change change) {
    auto options = shop_->daemonOptions(shop_->image());
    options.extra += "kubernetes:\n  sources: " + sources + "\n  kubeconfig: " + folder_.string() +
                     "/kubeconfig\n  kubeletAddress: " + kubelet_.address() +
                     "\n  kubeletCertificate: " + folder_.string() +
                     "/kubelet.crt\n  viewFile: " + folder_.string() + "/pods.view\n";
    change(options);
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    E2E_TRY(const auto stopped, shop_->daemon->stop());
    static_cast<void>(stopped);
    E2E_CHECK(shop_->daemon->restart());
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  [[nodiscard]] boost::json::object known() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    if (!answer || answer->status != 200) return {};
    return boost::json::parse(answer->body).at("kubernetes").as_object();
  }
  /// "kubelet=up apiserver=failing 3 pods"
  [[nodiscard]] std::string shown() const {
    const auto object = known();
    if (object.empty()) return "no status";
    std::string text;
    for (const auto& source : object.at("sources").as_array()) {
      text += std::string(source.at("name").as_string()) + "=" + std::string(source.at("state").as_string()) +
              " ";
    }
    return text + std::to_string(object.at("pods").to_number<int>()) + " pods";
  }
  [[nodiscard]] bool shows(const std::string& wanted) const {
    return waitUntil(kCeiling, [&] { return shown() == wanted; });
  }
  [[nodiscard]] bool reaches(const std::string& pod, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod) == state; });
  }

  std::filesystem::path folder_ = makeRunDir("kube");
  kube_test::Authority authority_{"cluster"};
  kube_test::Leaf own_ = kube_test::Authority::selfSigned("DNS:node");
  kube_test::FakeApiServer api_{authority_.server("IP:127.0.0.1")};
  kube_test::FakeKubelet kubelet_{own_};
  ShopOptions shopOptions_;
  std::unique_ptr<Shop> shop_;
};

}  // namespace fallbackd::e2e
