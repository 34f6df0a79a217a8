// SPDX-License-Identifier: Apache-2.0
// Pods whose specification is the configuration: an annotation or a short workload names the binary, and
// everything else comes from the pod.
#include "kube_node.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using kube_test::Fault;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kUid = "0f9b2c51-6f0e-4b9d-9a35-5a3a3f7f0a11";

/// The words of a file in /proc, each ended by a NUL there, with a space after each.
std::string words(pid_t pid, const char* file) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/" + file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  auto all = text.str();
  std::replace(all.begin(), all.end(), '\0', ' ');
  return all;
}

class Specification : public KubeNodeTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    E2E_CHECK(shop_->signer.install(testProgram("shop-httpd-1.8.4"), "checkout", "1.8.4"));
  }
  /// Configures only the namespace, and what the test adds.
  void configure(const std::string& sources, const std::string& workloads = "") {
    // `sources` may be followed by more keys.
    runDaemon(sources, [&](DaemonOptions& options) {
      options.workloads = workloads;
      options.extra += "podAnnotations: {namespaces: [shop]}\n";
    });
  }
  [[nodiscard]] PodSpec pod(const std::string& binary = "checkout@1.8.3") const {
    auto spec = checkoutPod("web-0");
    spec.uid = kUid;
    if (!binary.empty()) spec.annotations["fallbackd.io/binary.checkout"] = binary;
    return spec;
  }
  /// The pod as in the API server: with a configuration, an argument, variables and a probe.
  [[nodiscard]] json::object described(const std::string& tag = ":1.8.3") const {
    const auto image = shop_->registry.reference("shop/checkout" + tag);
    const auto spec = pod();
    json::object annotations;
    for (const auto& [key, value] : spec.annotations) annotations[key] = value;
    return {
        {"apiVersion", "v1"},
        {"kind", "Pod"},
        {"metadata", json::object{{"name", spec.name},
                                  {"namespace", spec.namespaceName},
                                  {"uid", kUid},
                                  {"resourceVersion", "1"},
                                  {"labels", json::object{{"app", "checkout"}}},
                                  {"annotations", annotations}}},
        {"spec",
         json::object{{"nodeName", nodeName()},
                      {"enableServiceLinks", false},
                      {"volumes", json::array{json::object{{"name", "settings"},
                                                           {"configMap", json::object{{"name", "s"}}}}}},
                      {"securityContext", json::object{{"runAsUser", 1000}, {"runAsGroup", 1001}}},
                      {"containers",
                       json::array{json::object{
                           {"name", "checkout"},
                           {"image", image},
                           {"command", json::array{"/shop/server"}},
                           {"args", json::array{"--port=$(PORT)", "--config=/etc/app/config.yaml"}},
                           {"env", json::array{json::object{{"name", "PORT"}, {"value", "8081"}},
                                               json::object{{"name", "ROLE"}, {"value", "from the pod"}}}},
                           {"ports", json::array{json::object{{"name", "http"}, {"containerPort", 8081}}}},
                           {"volumeMounts",
                            json::array{json::object{{"name", "settings"}, {"mountPath", "/etc/app"}}}},
                           {"readinessProbe",
                            json::object{{"httpGet", json::object{{"path", "/"}, {"port", "http"}}}}}}}}}},
        {"status", json::object{{"phase", "Pending"}}}};
  }
  static json::object& containerOf(json::object& pod) {
    return pod.at("spec").at("containers").as_array().at(0).as_object();
  }
  /// Whether this path was requested from the API server.
  [[nodiscard]] bool asked(const std::string& path) {
    const auto all = api_.requests();
    return std::any_of(all.begin(), all.end(), [&](const auto& one) { return one.path == path; });
  }
  void put(const json::object& pod) { api_.put(json::serialize(pod)); }
  void start(const PodSpec& spec) {
    E2E_TRY(const auto started, shop_->kubelet->startPod(spec));
    static_cast<void>(started);
  }
  [[nodiscard]] std::string explain() const {
    const auto ran = runOk({.argv = {binary("fallbackctl"), "explain", "shop/web-0", "--socket",
                                     shop_->daemon->controlSocket().string()}});
    return ran ? *ran : ran.error().message();
  }
  [[nodiscard]] bool explains(const std::string& words) const {
    return waitUntil(kCeiling, [&] { return explain().find(words) != std::string::npos; });
  }
  /// Checks that the process is the one of the pod's specification.
  void expectThePodsProcess() const {
    const auto pid = fallbackPid(*shop_->daemon, "web-0");
    ASSERT_GT(pid, 0) << explain();
    EXPECT_EQ(words(pid, "cmdline"), "/shop/server --port=8081 --config=/etc/app/config.yaml ");
    EXPECT_THAT(words(pid, "environ"), HasSubstr("ROLE=from the pod "));
    EXPECT_THAT(words(pid, "status"), AllOf(HasSubstr("Uid:\t1000\t"), HasSubstr("Gid:\t1001\t")));
  }
};

TEST_F(Specification, AnAnnotationIsTheWholeConfiguration) {
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]"));
  put(described());
  ASSERT_TRUE(shows("apiserver=up 1 pods")) << shown();
  start(pod());
  ASSERT_TRUE(reaches("web-0", "ready")) << explain() << shop_->daemon->logText();
  expectThePodsProcess();
  EXPECT_THAT(explain(), HasSubstr("the pod asks for checkout@1.8.3"));
  EXPECT_THAT(api_.violations(), testing::IsEmpty());
}

TEST_F(Specification, KubeletIsAskedForItWhenThePodWaits) {
  ASSERT_NO_FATAL_FAILURE(configure("[kubelet]"));
  kubelet_.setPods({json::serialize(described())});
  EXPECT_EQ(kubelet_.connections(), 0U);
  start(pod());
  ASSERT_TRUE(reaches("web-0", "ready")) << explain() << shop_->daemon->logText();
  expectThePodsProcess();
}

TEST_F(Specification, AShortWorkloadTakesTheRestFromThePodAndMayOverrideIt) {
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]",
                                    "- match: {namespace: shop, container: checkout}\n"
                                    "  binary: checkout@1.8.3\n"
                                    "  env: {ROLE: from the node}\n"));
  put(described());
  start(pod(""));
  ASSERT_TRUE(reaches("web-0", "ready")) << explain() << shop_->daemon->logText();
  const auto pid = fallbackPid(*shop_->daemon, "web-0");
  EXPECT_THAT(words(pid, "environ"), HasSubstr("ROLE=from the node "));
  EXPECT_THAT(words(pid, "cmdline"), HasSubstr("--port=8081"));
}

TEST_F(Specification, APodIsReadyWhenACommandOfItsOwnProgramSucceeds) {
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]"));
  auto probed = described();
  probed.at("spec").at("volumes").as_array().push_back(
      json::object{{"name", "scratch"}, {"emptyDir", json::object{}}});
  auto& container = containerOf(probed);
  container.at("volumeMounts")
      .as_array()
      .push_back(json::object{{"name", "scratch"}, {"mountPath", "/scratch"}});
  container["readinessProbe"] = json::object{
      {"exec", json::object{{"command", json::array{"/shop/server", "--ready-if=/scratch/ready"}}}}};
  put(probed);
  auto spec = pod();
  spec.volumes.push_back({PodVolume::Kind::empty_dir, "scratch", {}});
  start(spec);
  const auto scratch = shop_->kubelet->podsDir() / kUid / "volumes" /
                       volumePluginFolder(PodVolume::Kind::empty_dir) / "scratch";
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return std::filesystem::exists(scratch / "ready.asked"); }))
      << explain() << shop_->daemon->logText();
  // The command's answer was: not ready.
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "started");
  EXPECT_THAT(explain(), HasSubstr("readinessProbe.exec: it runs beside the fallback"));
  std::ofstream(scratch / "ready").put('1');
  ASSERT_TRUE(reaches("web-0", "ready")) << explain() << shop_->daemon->logText();
}

TEST_F(Specification, OfTwoVersionsThePodGetsItsOwn) {
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]",
                                    "- {name: old, match: {namespace: shop, container: checkout}, binary: "
                                    "checkout@1.8.3}\n"
                                    "- {name: new, match: {namespace: shop, container: checkout}, binary: "
                                    "checkout@1.8.4}\n"));
  put(described(":1.8.4"));
  start(pod(""));
  ASSERT_TRUE(reaches("web-0", "ready")) << explain();
  EXPECT_THAT(explain(), HasSubstr("checkout@1.8.4"));
}

TEST_F(Specification, AnotherVersionIsAlwaysReported) {
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]"));
  put(described(":1.9.0"));
  start(pod());
  EXPECT_TRUE(explains("no binary for checkout 1.9.0")) << explain();
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto metrics = shop_->daemon->metrics();
    return metrics && sumOf(*metrics, "fallbackd_recoveries_total", "reason=\"version_mismatch\"") > 0;
  })) << shop_->daemon->logText();
  EXPECT_EQ(fallbackPid(*shop_->daemon, "web-0"), 0);
}

TEST_F(Specification, AVariableThatOnlyTheClusterKnowsDecidesByMissingEnv) {
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]"));
  auto secret = described();
  containerOf(secret).at("env").as_array().push_back(json::object{
      {"name", "PASSWORD"},
      {"valueFrom", json::object{{"secretKeyRef", json::object{{"name", "db"}, {"key", "p"}}}}}});
  put(secret);
  start(pod());
  EXPECT_TRUE(explains("spec.containers[0].env[2]")) << explain();
  EXPECT_EQ(fallbackPid(*shop_->daemon, "web-0"), 0);
  // The pod gets its own specification again, without the variable: the daemon continues by itself.
  put(described());
  EXPECT_TRUE(reaches("web-0", "ready")) << explain();
}

TEST_F(Specification, AReadableSecretGivesItsValueEvenWithoutTheServer) {
  api_.putOwner("/api/v1/namespaces/shop/secrets/db", R"({"data":{"p":"czNjcmV0"}})");
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]\n  readVariablesIn: [shop]"));
  auto secret = described();
  containerOf(secret).at("env").as_array().push_back(json::object{
      {"name", "PASSWORD"},
      {"valueFrom", json::object{{"secretKeyRef", json::object{{"name", "db"}, {"key", "p"}}}}}});
  put(secret);
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return asked("/api/v1/namespaces/shop/secrets/db"); }));
  api_.trouble({Fault::silent_accept});
  start(pod());
  ASSERT_TRUE(reaches("web-0", "ready")) << explain() << shop_->daemon->logText();
  EXPECT_THAT(words(fallbackPid(*shop_->daemon, "web-0"), "environ"), HasSubstr("PASSWORD=s3cret "));
  EXPECT_THAT(shop_->daemon->logText(), Not(HasSubstr("s3cret")));
  std::ifstream view(folder_ / "pods.view");
  std::ostringstream kept;
  kept << view.rdbuf();
  EXPECT_THAT(kept.str(), Not(HasSubstr("s3cret")));
}

TEST_F(Specification, KnownPodsAreRescuedWhileNoSourceAnswers) {
  ASSERT_NO_FATAL_FAILURE(configure("[kubelet, apiserver]"));
  put(described());
  ASSERT_TRUE(shows("kubelet=waiting apiserver=up 1 pods")) << shown();
  api_.trouble({Fault::silent_accept});
  kubelet_.trouble({Fault::silent_accept});
  E2E_TRY(const auto stopped, shop_->daemon->stop());
  EXPECT_EQ(stopped, 0);
  E2E_CHECK(shop_->daemon->restart());
  start(pod());
  ASSERT_TRUE(reaches("web-0", "ready")) << explain() << shop_->daemon->logText();
  ASSERT_NO_FATAL_FAILURE(expectThePodsProcess());
  // A crash of the daemon does not affect the process, and a restart of the process gives the same one.
  const auto before = fallbackPid(*shop_->daemon, "web-0");
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(reaches("web-0", "ready")) << explain();
  EXPECT_EQ(fallbackPid(*shop_->daemon, "web-0"), before);
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto pid = fallbackPid(*shop_->daemon, "web-0");
    return pid > 0 && pid != before && recoveryState(*shop_->daemon, "web-0") == "ready";
  })) << explain();
  expectThePodsProcess();
}

TEST_F(Specification, UntilItIsKnownNothingStartsAndTheReasonIsShown) {
  api_.trouble({Fault::status, 403, "", "forbidden"});
  ASSERT_NO_FATAL_FAILURE(configure("[apiserver]"));
  put(described());
  start(pod());
  EXPECT_TRUE(explains("no source has described the pod yet; apiserver fails")) << explain();
  EXPECT_THAT(explain(), Not(HasSubstr("no workload covers this pod")));
  api_.heal();
  EXPECT_TRUE(reaches("web-0", "ready")) << explain();
}

}  // namespace
}  // namespace fallbackd::e2e
