// SPDX-License-Identifier: Apache-2.0
// The daemon with an API server and a kubelet that describe its pods: what it shows, and that recoveries do
// not care whether anybody answers.
#include "e2e_gtest.hpp"
#include "kube/fake_api_server.hpp"
#include "kube/fake_kubelet.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <array>
#include <fstream>
#include <unistd.h>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using kube_test::Authority;
using kube_test::FakeApiServer;
using kube_test::FakeKubelet;
using kube_test::Fault;
using kube_test::podJson;
using testing::HasSubstr;

constexpr auto kCeiling = 30s;

std::string nodeName() {
  std::array<char, 256> name{};
  static_cast<void>(::gethostname(name.data(), name.size() - 1));
  return name.data();
}

class PodSources : public testing::Test {
 protected:
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
    E2E_TRY(shop_, Shop::open());
    auto options = shop_->daemonOptions(shop_->image());
    options.extra += "kubernetes:\n  sources: [kubelet, apiserver]\n  kubeconfig: " + folder_.string() +
                     "/kubeconfig\n  kubeletAddress: " + kubelet_.address() +
                     "\n  kubeletCertificate: " + folder_.string() +
                     "/kubelet.crt\n  viewFile: " + folder_.string() + "/pods.view\n";
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
  /// "kubelet=up apiserver=failing, 3 pods"
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
  void rescue(const std::string& name) {
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod(name)));
    static_cast<void>(pod);
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, name) == "ready"; }))
        << shop_->daemon->logText();
  }

  std::filesystem::path folder_ = makeRunDir("kube");
  Authority authority_{"cluster"};
  kube_test::Leaf own_ = Authority::selfSigned("DNS:node");
  FakeApiServer api_{authority_.server("IP:127.0.0.1")};
  FakeKubelet kubelet_{own_};
  std::unique_ptr<Shop> shop_;
};

TEST_F(PodSources, AreShownAndKubeletIsAskedWhenAPodWaits) {
  api_.put(podJson("checkout-1", "uid-1", nodeName()));
  EXPECT_TRUE(shows("kubelet=waiting apiserver=up 1 pods")) << shown() << shop_->daemon->logText();
  kubelet_.setPods({podJson("static-1", "uid-2", nodeName())});
  EXPECT_EQ(kubelet_.connections(), 0U);
  ASSERT_NO_FATAL_FAILURE(rescue("checkout-2"));
  EXPECT_TRUE(shows("kubelet=up apiserver=up 2 pods")) << shown();
  const auto metrics = shop_->daemon->metrics();
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->at("fallbackd_pod_source_up{source=\"kubelet\"}"), 1);
  EXPECT_EQ(metrics->at("fallbackd_pods_known"), 2);
  EXPECT_THAT(api_.violations(), testing::IsEmpty());
  EXPECT_THAT(kubelet_.violations(), testing::IsEmpty());
}

TEST_F(PodSources, FailAloneAndWhatWasKnownOutlivesTheDaemon) {
  api_.put(podJson("checkout-1", "uid-1", nodeName()));
  ASSERT_TRUE(shows("kubelet=waiting apiserver=up 1 pods")) << shown();
  E2E_TRY(const auto stopped, shop_->daemon->stop());
  EXPECT_EQ(stopped, 0);
  api_.trouble({Fault::status, 403, "", "forbidden"});
  kubelet_.trouble({Fault::silent_accept});
  E2E_CHECK(shop_->daemon->restart());
  EXPECT_TRUE(shows("kubelet=waiting apiserver=failing 1 pods")) << shown();
  EXPECT_TRUE(known().contains("rememberedSince"));
  ASSERT_NO_FATAL_FAILURE(rescue("checkout-2"));
  EXPECT_TRUE(shows("kubelet=failing apiserver=failing 1 pods")) << shown();
  const auto ready = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/readyz");
  ASSERT_TRUE(ready);
  EXPECT_EQ(ready->status, 200U);
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("get, list and watch pods"));
  api_.heal();
  kubelet_.heal();
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return shown().find("apiserver=up") != std::string::npos; }))
      << shown();
}

}  // namespace
}  // namespace fallbackd::e2e
