// SPDX-License-Identifier: Apache-2.0
// fallbackctl coverage on a node, and of manifests without one.
#include "kube_node.hpp"

#include <fstream>
#include <map>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kBinaryAnnotation = "fallbackd.io/binary.checkout";

class CoverageE2e : public KubeNodeTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    runDaemon("[apiserver]", [](DaemonOptions& options) {
      options.workloads = "";
      options.extra += "podAnnotations: {namespaces: [shop]}\n";
    });
  }
  /// Starts a pod on the node; the API server describes it if `tag` is given.
  void start(const std::string& name, const std::string& uid, const std::string& tag,
             const std::string& chosen = "") {
    auto spec = checkoutPod(name);
    spec.uid = uid;
    if (!chosen.empty()) spec.annotations[kBinaryAnnotation] = chosen;
    if (!tag.empty()) api_.put(json::serialize(described(spec, tag)));
    E2E_TRY(const auto started, shop_->kubelet->startPod(spec));
    static_cast<void>(started);
  }
  [[nodiscard]] json::object described(const PodSpec& spec, const std::string& tag) const {
    json::object annotations;
    for (const auto& [key, value] : spec.annotations) annotations[key] = value;
    const auto image = shop_->registry.reference("shop/checkout:" + tag);
    return {{"apiVersion", "v1"},
            {"kind", "Pod"},
            {"metadata", json::object{{"name", spec.name},
                                      {"namespace", spec.namespaceName},
                                      {"uid", spec.uid},
                                      {"resourceVersion", "1"},
                                      {"labels", json::object{{"app", "checkout"}}},
                                      {"annotations", annotations}}},
            {"spec",
             json::object{{"nodeName", nodeName()},
                          {"securityContext", json::object{{"runAsUser", 1000}, {"runAsGroup", 1000}}},
                          {"containers",
                           json::array{json::object{
                               {"name", "checkout"}, {"image", image}, {"command", json::array{"/shop"}}}}}}},
            {"status", json::object{{"phase", "Pending"}}}};
  }
  [[nodiscard]] Output ctl(std::vector<std::string> words) const {
    words.insert(words.begin(), {binary("fallbackctl"), "coverage"});
    const auto ran = run({.argv = words});
    if (!ran) return {-1, ran.error().message()};
    return *ran;
  }
  [[nodiscard]] Output ask(std::vector<std::string> words = {}) const {
    words.insert(words.end(), {"--socket", shop_->daemon->controlSocket().string()});
    return ctl(std::move(words));
  }
  /// Verdicts by pod, from the JSON.
  [[nodiscard]] std::map<std::string, std::string> verdicts() const {
    std::map<std::string, std::string> all;
    const auto asked = ask({"--output", "json"});
    boost::system::error_code failed;
    const auto root = json::parse(asked.text, failed);
    if (failed) return {{"error", asked.text}};
    for (const auto& pod : root.at("pods").as_array()) {
      for (const auto& one : pod.at("containers").as_array())
        all[std::string(pod.at("pod").as_string())] = one.at("verdict").as_string();
    }
    return all;
  }
};

TEST_F(CoverageE2e, ShowsANodesPodsAsTableJsonMetricsAndExitCode) {
  start("web-0", "0f9b2c51-6f0e-4b9d-9a35-5a3a3f7f0a01", "1.8.3", "checkout@1.8.3");
  start("web-1", "0f9b2c51-6f0e-4b9d-9a35-5a3a3f7f0a02", "1.9.0", "checkout@1.8.3");
  start("web-2", "0f9b2c51-6f0e-4b9d-9a35-5a3a3f7f0a03", "", "checkout@1.8.3");
  const std::map<std::string, std::string> expected{
      {"web-0", "limited"}, {"web-1", "no_binary"}, {"web-2", "not_known"}};
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return verdicts() == expected; }))
      << testing::PrintToString(verdicts()) << shop_->daemon->logText();

  const auto table = ask();
  EXPECT_EQ(table.code, 1);
  EXPECT_THAT(table.text, AllOf(HasSubstr("shop/web-0"), HasSubstr("by checkout@1.8.3"),
                                HasSubstr("no binary for checkout 1.9.0; there is 1.8.3"),
                                HasSubstr("its specification is not known"), HasSubstr(": 2 problems")));
  const auto problems = ask({"--problems"});
  EXPECT_THAT(problems.text, AllOf(Not(HasSubstr("shop/web-0")), HasSubstr("shop/web-1")));
  EXPECT_THAT(ask({"--details"}).text, HasSubstr("next: install that version"));
  EXPECT_EQ(ask({"--accept", "no_binary,not_known"}).code, 0);
  EXPECT_EQ(ask({"--accept", "fine"}).code, 2);
  EXPECT_EQ(ask({"--namespace", "other"}).code, 0);
  EXPECT_EQ(ctl({"--socket", "/nonexistent"}).code, 2);

  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto metrics = shop_->daemon->metrics();
    return metrics && sumOf(*metrics, "fallbackd_coverage", "verdict=\"limited\"") == 1 &&
           sumOf(*metrics, "fallbackd_coverage", "verdict=\"no_binary\"") == 1;
  }));
  const auto status = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
  ASSERT_TRUE(status);
  EXPECT_EQ(json::parse(status->body).at("coverage").at("containers").at("no_binary").to_number<int>(), 1);
  // Only root may read the pods' details.
  const auto remote = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/coverage");
  EXPECT_TRUE(!remote || remote->status != 200);
  EXPECT_THAT(api_.violations(), IsEmpty());
}

TEST_F(CoverageE2e, ManifestsAreJudgedWithTheNodesConfigurationAndCache) {
  const auto manifest = (folder_ / "deploy.yaml").string();
  write("deploy.yaml",
        "kind: Deployment\nmetadata: {name: checkout, namespace: shop}\nspec:\n  template:\n    metadata:\n"
        "      labels: {app: checkout}\n      annotations: {fallbackd.io/binary.checkout: checkout@1.8.3}\n"
        "    spec:\n      containers:\n      - {name: checkout, image: 'r.example.com/checkout:1.8.3', "
        "command: [/shop]}\n"
        "---\nkind: Service\nmetadata: {name: checkout}\nspec: {}\n");
  const std::vector<std::string> from{"--from", manifest, "--config", shop_->daemon->configFile().string()};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), from.begin(), from.end());
    return ctl(std::move(more));
  };
  const auto judged = with({});
  EXPECT_EQ(judged.code, 0) << judged.text;
  EXPECT_THAT(judged.text, AllOf(HasSubstr("shop/checkout (Deployment checkout)"), HasSubstr("limited")));
  EXPECT_EQ(with({"--binaries", "checkout@1.8.3"}).code, 0);
  const auto without = with({"--binaries", "checkout@1.8.4,basket@1"});
  EXPECT_EQ(without.code, 1);
  EXPECT_THAT(without.text, HasSubstr("checkout@1.8.3 is not in the cache"));
  EXPECT_EQ(with({"--binaries", "checkout"}).code, 2);
  EXPECT_EQ(ctl({"--from", manifest, "--config", "/nonexistent"}).code, 2);
}

}  // namespace
}  // namespace fallbackd::e2e
