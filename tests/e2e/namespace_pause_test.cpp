// SPDX-License-Identifier: Apache-2.0
// A pause by a namespace's annotation, as read from the API server.
#include "kube_node.hpp"

#include <utility>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using kube_test::Fault;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class NamespacePause : public KubeNodeTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    api_.putNamespace("shop");
    api_.putNamespace("bank", {{"fallbackd.io/pause", "true"}});
    runDaemon("[]", [](DaemonOptions& options) { options.extra += "  namespacePause: true\n"; });
  }
  void startPod(const std::string& name) {
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod(name)));
    static_cast<void>(pod);
  }
  [[nodiscard]] boost::json::object status() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    return answer && answer->status == 200 ? boost::json::parse(answer->body).as_object()
                                           : boost::json::object();
  }
  /// The namespaces that status shows as paused by an annotation.
  [[nodiscard]] std::string paused() const {
    const auto root = status();
    std::string names;
    if (root.empty()) return "no status";
    for (const auto& one : root.at("pause").at("namespaces").as_array()) {
      if (one.at("by").as_string() == "annotation") names += std::string(one.at("name").as_string()) + " ";
    }
    return names;
  }
  [[nodiscard]] bool becomesPaused(const std::string& names) const {
    return waitUntil(kCeiling, [&] { return paused() == names; });
  }
  [[nodiscard]] bool isWithheld(const std::string& pod) const {
    return waitUntil(kCeiling, [&] {
      const auto root = status();
      if (root.empty()) return false;
      for (const auto& one : root.at("withheld").as_array()) {
        if (one.at("pod").as_string() == pod) return one.at("by").as_string() == "pause";
      }
      return false;
    });
  }
  [[nodiscard]] std::string ctl(std::vector<std::string> words) const {
    words.insert(words.begin(), binary("fallbackctl"));
    words.insert(words.end(), {"--socket", shop_->daemon->controlSocket()});
    const auto output = run({.argv = std::move(words), .env = {}, .output = {}});
    return output ? output->text : output.error().message();
  }
};

TEST_F(NamespacePause, StopsNewRecoveriesAtOnceAndRunningOnesGoOn) {
  ASSERT_TRUE(becomesPaused("bank ")) << shop_->daemon->logText();
  ASSERT_NO_FATAL_FAILURE(startPod("running"));
  ASSERT_TRUE(reaches("running", "ready")) << shop_->daemon->logText();
  const auto process = fallbackPid(*shop_->daemon, "running");

  api_.putNamespace("shop", {{"fallbackd.io/pause", "incident 4711"}});
  ASSERT_TRUE(becomesPaused("bank shop ")) << shop_->daemon->logText();
  ASSERT_NO_FATAL_FAILURE(startPod("late"));
  ASSERT_TRUE(isWithheld("late")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "late"), "");
  EXPECT_EQ(fallbackPid(*shop_->daemon, "running"), process) << "running fallbacks continue";
  const auto metrics = shop_->daemon->metrics();
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->at(R"(fallbackd_paused_scopes{scope="namespace"})"), 2);
  EXPECT_EQ(metrics->at(R"(fallbackd_withheld_fallbacks{by="pause"})"), 1);
  EXPECT_EQ(metrics->at(R"(fallbackd_pod_source_up{source="namespaces"})"), 1);
  const auto explained = ctl({"explain", "shop/late"});
  EXPECT_THAT(explained, HasSubstr("new recoveries are paused: incident 4711"));
  EXPECT_THAT(explained, HasSubstr("kubectl annotate namespace shop fallbackd.io/pause- ends the pause"));
  const auto told = ctl({"status"});
  EXPECT_THAT(told, HasSubstr("new recoveries in namespace shop are paused since"));
  EXPECT_THAT(told, HasSubstr("incident 4711; kubectl annotate namespace shop fallbackd.io/pause- ends it"));
  EXPECT_THAT(told, HasSubstr("pauses by namespaces' annotations: up since"));

  api_.putNamespace("shop");
  EXPECT_TRUE(reaches("late", "ready")) << shop_->daemon->logText();
  EXPECT_THAT(ctl({"status"}), Not(HasSubstr("namespace shop")));
  EXPECT_THAT(api_.violations(), IsEmpty());
}

TEST_F(NamespacePause, StaysWhileTheApiServerIsDownAndTheDaemonRestarts) {
  api_.putNamespace("shop", {{"fallbackd.io/pause", "true"}});
  ASSERT_TRUE(becomesPaused("bank shop ")) << shop_->daemon->logText();
  api_.trouble({Fault::status, 503, "", "away"});
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(becomesPaused("bank shop ")) << shop_->daemon->logText();
  ASSERT_NO_FATAL_FAILURE(startPod("late"));
  ASSERT_TRUE(isWithheld("late")) << shop_->daemon->logText();
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    const auto known = status();
    if (known.empty()) return false;
    const auto& watch = known.at("kubernetes").at("namespaces").as_object();
    return watch.at("state").as_string() == "failing" && watch.contains("since");
  }));
  EXPECT_THAT(ctl({"status"}), HasSubstr("as last known"));
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("stay as they were last known"));
  api_.putNamespace("shop");
  api_.heal();
  EXPECT_TRUE(reaches("late", "ready")) << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
