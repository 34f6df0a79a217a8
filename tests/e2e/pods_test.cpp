// SPDX-License-Identifier: Apache-2.0
// Pods of every shape, on the real containerd: which containers get a fallback, and when.
#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <fstream>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Pods : public testing::Test {
 protected:
  void open(const ShopOptions& options = {}) { E2E_TRY(shop_, Shop::open(options)); }
  /// Imports an image whose container runs `args`.
  void import(const std::string& reference) const {
    const Image image{.reference = reference,
                      .files = {{"bin/checkout", testProgram("shop-httpd-1.8.3")}},
                      .entrypoint = {"/bin/checkout"},
                      .env = {}};
    const auto archive = makeRunDir("import") / "image.tar";
    E2E_CHECK(writeOciArchive(image, archive));
    E2E_CHECK(shop_->node->importImage(archive, reference));
  }
  void reload(const DaemonOptions& options) const { E2E_CHECK(shop_->daemon->reload(options, kCeiling)); }
  [[nodiscard]] double metric(const std::string& prefix, const std::string& part = "") const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, prefix, part) : -1;
  }
  [[nodiscard]] bool reaches(const std::string& pod, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod) == state; });
  }
  [[nodiscard]] bool serves(const Pod& pod, const std::string& text) const {
    const auto answer = httpGetOk(pod.ip, Shop::kPort, "/", kCeiling);
    return answer && answer->body.find(text) != std::string::npos;
  }
  [[nodiscard]] bool says(const std::string& text) const {
    return waitUntil(kCeiling, [&] { return shop_->daemon->logText().find(text) != std::string::npos; });
  }
  [[nodiscard]] bool waitsAs(const std::string& state) const {
    return waitUntil(kCeiling, [&] {
      const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
      return answer && answer->body.find("\"state\":\"" + state + "\"") != std::string::npos;
    });
  }

  std::unique_ptr<Shop> shop_;
};

TEST_F(Pods, APodGetsTheBinaryItChoosesWhereThatIsAllowed) {
  open();
  auto options = shop_->daemonOptions(shop_->image());
  options.workloads.clear();
  options.extra += "podAnnotations: {namespaces: [shop]}\n";
  reload(options);
  auto spec = checkoutPod("web-0");
  spec.labels = {{"app", "nobody-knows"}};
  spec.annotations = {{"fallbackd.io/binary.web", "checkout@1.8.3"},
                      {"fallbackd.io/image.web", shop_->image()}};
  auto elsewhere = spec;
  elsewhere.name = "web-1";
  elsewhere.namespaceName = "outside";
  E2E_TRY(const auto outside, shop_->kubelet->startPod(elsewhere));
  E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
  ASSERT_TRUE(reaches("web-0", "ready")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-1"), "");
}

TEST_F(Pods, AFallbackWaitsForItsInitContainers) {
  ShopOptions options;
  options.workloadExtra = "  startAfter: [migrate]\n";
  open(options);
  import("localhost/shop/migrate:1");
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitsAs("after init containers"));
  ContainerSpec init;
  init.name = "migrate";
  init.image = "localhost/shop/migrate:1";
  init.args = {"--fail-health-check", "--health-check"};
  E2E_TRY(const auto failing, shop_->kubelet->createContainer(pod, init));
  E2E_CHECK(shop_->kubelet->startContainer(failing));
  init.args = {"--health-check"};
  init.attempt = 1;
  E2E_TRY(const auto second, shop_->kubelet->createContainer(pod, init));
  EXPECT_EQ(metric("fallbackd_probe_pulls_total"), 0) << "the init container has failed so far";
  E2E_CHECK(shop_->kubelet->startContainer(second));
  ASSERT_TRUE(reaches("web-0", "ready")) << shop_->daemon->logText();
}

TEST_F(Pods, ANewSandboxOfThePodGetsANewFallback) {
  open();
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(reaches("web-0", "ready"));
  const auto first = fallbackPid(*shop_->daemon, "web-0");
  E2E_CHECK(shop_->kubelet->stopPod(pod));
  ASSERT_TRUE(reaches("web-0", "pod_gone"));
  E2E_TRY(const auto fresh, shop_->kubelet->restartSandbox(pod));
  ASSERT_TRUE(reaches("web-0", "ready"));
  EXPECT_NE(fallbackPid(*shop_->daemon, "web-0"), first);
  EXPECT_TRUE(serves(fresh, "role=fallback"));
}

TEST_F(Pods, APodDeletedWhileItsRegistryIsSilentLeavesNothing) {
  open();
  const Image image{.reference = "shop/checkout:1", .files = {}, .entrypoint = {"/x"}, .env = {}};
  RegistryFault silent;
  silent.silent = true;
  E2E_TRY(const auto registry, FaultRegistry::start(image, silent));
  E2E_CHECK(shop_->node->speak("http", registry->address()));
  auto options = shop_->daemonOptions(registry->address() + "/shop/checkout:1");
  // On a slow node the verdict of the usual 3 s comes before the pod's start is over.
  options.extra = "detection: {reprobeInterval: 1s, responseTimeout: 10s}\n";
  reload(options);
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitsAs("asking"));
  E2E_CHECK(shop_->kubelet->removePod(pod));
  // A second pod of the same image shows when the verdict is there.
  E2E_TRY(const auto next, shop_->kubelet->startPod(checkoutPod("web-1")));
  ASSERT_TRUE(reaches("web-1", "ready"));
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "");
  EXPECT_EQ(metric("fallbackd_active_fallbacks"), 1);
}

TEST_F(Pods, PullPolicyAlwaysNeedsTheRegistryEvenIfTheImageIsPresent) {
  ShopOptions options;
  options.workloadExtra = "  detection: {imagePullPolicy: Always}\n";
  open(options);
  import(shop_->image());
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  EXPECT_TRUE(serves(pod, "role=fallback")) << shop_->daemon->logText();
}

TEST_F(Pods, APresentImageNeedsNoRegistry) {
  open();
  import(shop_->image());
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitsAs("image present"));
  EXPECT_EQ(metric("fallbackd_probe_pulls_total"), 0);
}

TEST_F(Pods, OnlyTheContainerWithoutItsImageGetsAFallback) {
  open();
  import("localhost/shop/sidecar:1");
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ContainerSpec sidecar;
  sidecar.name = "sidecar";
  sidecar.image = "localhost/shop/sidecar:1";
  sidecar.args = {"--port=9090"};
  sidecar.env = {{"ROLE", "sidecar"}};
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, sidecar));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  EXPECT_TRUE(serves(pod, "role=fallback"));
  ASSERT_TRUE(reaches("web-0", "ready")) << "the sidecar's container must not cause a hand-back";
  E2E_TRY(const auto other, httpGetOk(pod.ip, 9090, "/", kCeiling));
  EXPECT_THAT(other.body, HasSubstr("role=sidecar"));
}

TEST_F(Pods, APrivateRegistryGetsTheWorkloadsPassword) {
  open();
  E2E_TRY(auto closed, Registry::make({.port = 0, .user = "robot", .password = "beep"}));
  E2E_CHECK(closed.start());
  E2E_TRY(const auto image, closed.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  const auto file = makeRunDir("secret") / ".dockerconfigjson";
  const auto write = [&](const std::string& password) {
    std::ofstream(file) << R"({"auths": {")" << closed.address()
                        << R"(": {"username": "robot", "password": ")" << password << R"("}}})";
  };
  write("wrong-word");
  auto options = shop_->daemonOptions(image);
  options.workloads += "  dockerconfigjson: " + file.string() + "\n";
  reload(options);
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitsAs("failed"));
  write("beep");  // read again at the next probe
  ASSERT_TRUE(waitsAs("image present")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "");

  E2E_CHECK(closed.stop());
  E2E_CHECK(shop_->kubelet->removeImage(image));
  E2E_TRY(const auto next, shop_->kubelet->startPod(checkoutPod("web-1")));
  EXPECT_TRUE(serves(next, "role=fallback"));
  for (const auto* word : {"beep", "wrong-word"}) {
    EXPECT_EQ(shop_->daemon->logText().find(word), std::string::npos) << "passwords are not logged";
  }
}

TEST_F(Pods, AWorkingMirrorMeansNoFailure) {
  open();
  E2E_TRY(auto mirror, Registry::make());
  E2E_CHECK(mirror.start());
  E2E_TRY(const auto pushed, mirror.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  const auto folder = shop_->node->registryConfigDir() / shop_->registry.address();
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "hosts.toml") << "server = \"http://" << shop_->registry.address()
                                       << "\"\n[host.\"http://" << mirror.address() << "\"]\n";
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitsAs("image present")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "");

  E2E_CHECK(mirror.stop());
  E2E_CHECK(shop_->kubelet->removeImage(shop_->image()));
  E2E_TRY(const auto next, shop_->kubelet->startPod(checkoutPod("web-1")));
  EXPECT_TRUE(serves(next, "role=fallback")) << "now both the mirror and the registry are down";
}

TEST_F(Pods, AMissingPauseImageIsReported) {
  open();
  shop_->daemon->kill();
  if (shop_->node->version().starts_with("2.")) {  // it does not report its pause image
    auto options = shop_->daemonOptions(shop_->image());
    options.containerd = "  sandboxImage: " + std::string(kSandboxImage) + "\n";
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
  }
  E2E_CHECK(shop_->daemon->restart());
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_sandbox_image_present") == 1; }));
  shop_->daemon->kill();
  E2E_CHECK(shop_->kubelet->removeImage(kSandboxImage));
  E2E_CHECK(shop_->daemon->restart());
  EXPECT_TRUE(says("the pause image is not on the node"));
  EXPECT_EQ(metric("fallbackd_sandbox_image_present"), 0);
}

}  // namespace
}  // namespace fallbackd::e2e
