// SPDX-License-Identifier: Apache-2.0
// Pods that choose their binaries and images, and the credentials that their probe pulls get.
#include "sys/file.hpp"
#include "temp_folder.hpp"
#include "watcher_fixture.hpp"

#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using Kind = cri::Event::Kind;

/// A node on which pods of "shop" and "evil" may choose, with a password for r.x.
struct ChoosingTest : WatcherTest {
  ChoosingTest() {
    changed = std::make_shared<config::Config>(*config);
    changed->podAnnotations.namespaces = {"shop", "evil"};
    config::Registry registry;
    registry.host = "r.x";
    registry.dockerConfig = folder.write("auth.json", R"({"auths": {"r.x": {"password": "p"}}})");
    changed->registries = {registry};
  }
  void addChoosing(const std::string& id, const std::string& podNamespace, const cri::Labels& annotations) {
    runtime.addSandbox(id, podNamespace, "own");
    runtime.sandboxes[id].sandbox.annotations = annotations;
  }
  static cri::Labels choice(const std::string& image) {
    return {{"fallbackd.io/binary.web", "web@2.0.0"}, {"fallbackd.io/image.web", image}};
  }
  bool pulled(const std::string& image) {
    return runUntil(loop, [&] { return runtime.pulls.contains(image); });
  }

  test::TempFolder folder;
  std::shared_ptr<config::Config> changed;
};

TEST_F(ChoosingTest, ThePasswordGoesWithWhatTheConfigurationNames) {
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  EXPECT_TRUE(runtime.lastCredentials);
}

TEST_F(ChoosingTest, APodBorrowsNoPassword) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/secret:1"));
  start();
  ASSERT_TRUE(pulled("r.x/secret:1"));
  EXPECT_FALSE(runtime.lastCredentials);
}

TEST_F(ChoosingTest, APodBorrowsNoPasswordForAnImageOfAnotherWorkload) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/checkout:1"));
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  EXPECT_FALSE(runtime.lastCredentials);
}

/// The same node with a credential provider for r.x, and no file.
struct ProviderTest : ChoosingTest {
  ProviderTest() {
    changed->registries.clear();
    changed->credentialProviders = {"/providers.yaml", "/bin"};
    watcher.credentials().readFilesWith([](std::string) -> cri::Awaitable<Result<std::string>> {
      co_return std::string(
          "{apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig, providers: [{name: p, "
          "matchImages: [r.x], defaultCacheDuration: 1h, apiVersion: "
          "credentialprovider.kubelet.k8s.io/v1}]}");
    });
    watcher.credentials().runProgramsWith([this](ProviderProgram) -> cri::Awaitable<Result<std::string>> {
      ++runs;
      if (fails) co_return fail(Stage::detection, Reason::exited, "p exited with 1");
      co_return std::string(
          R"({"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
              "cacheKeyType": "Registry", "auth": {"r.x": {"username": "u", "password": "given"}}})");
    });
  }
  int runs = 0;
  bool fails = false;
};

TEST_F(ProviderTest, AProviderGivesThePasswordOfWhatTheConfigurationNames) {
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  ASSERT_TRUE(runtime.lastCredentials);
  EXPECT_EQ(runtime.lastCredentials->password, "given");
  EXPECT_EQ(runs, 1);
}

TEST_F(ProviderTest, AFileGoesFirst) {
  changed->workloads[0].dockerConfig =
      folder.write("own.json", R"({"auths": {"r.x": {"username": "u", "password": "own"}}})");
  watcher.credentials().readFilesWith([](std::string path) -> cri::Awaitable<Result<std::string>> {
    co_return sys::readFile(Stage::detection, path, 4096);
  });
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  ASSERT_TRUE(runtime.lastCredentials);
  EXPECT_EQ(runtime.lastCredentials->password, "own");
  EXPECT_EQ(runs, 0);
}

TEST_F(ProviderTest, NoProviderIsAskedForWhatOnlyAnAnnotationNames) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/secret:1"));
  addChoosing("s2", "evil", choice("r.x/checkout:1"));
  start();
  ASSERT_TRUE(pulled("r.x/secret:1"));
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  EXPECT_FALSE(runtime.lastCredentials);
  EXPECT_EQ(runs, 0);
}

TEST_F(ProviderTest, A401WithoutThePasswordSpeaksForTheNamespaceAlone) {
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2,
                         "failed to resolve reference \"r.x/checkout:1\": unexpected status from HEAD "
                         "request to https://r.x/v2/checkout/manifests/1: 401 Unauthorized"};
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/checkout:1"));
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  settle();
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  runtime.addSandbox("s2", "shop", "checkout");
  events.send(Kind::task_started, "s2");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.images.contains("r.x/checkout:1"); }));
  EXPECT_EQ(runtime.lastCredentials->password, "given") << "it probed for itself, with the password";
}

TEST_F(ProviderTest, AFailureOfAProviderIsReportedAndShown) {
  fails = true;
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); })) << "it is still an outage";
  ASSERT_FALSE(seen.troubles.empty());
  EXPECT_EQ(seen.troubles[0], "credentials of workload checkout: credential provider \"p\": p exited with 1");
  EXPECT_EQ(watcher.waitingContainers().at(0).trouble, "credential provider \"p\": p exited with 1");
}

TEST_F(ChoosingTest, AListedRepositoryGetsTheEntrysPassword) {
  changed->registries[0].repositories = {"public"};
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/public/a:1"));
  start();
  ASSERT_TRUE(pulled("r.x/public/a:1"));
  EXPECT_TRUE(runtime.lastCredentials);
}

TEST_F(ChoosingTest, AMalformedReferenceIsNeverProbedAndReportedOnce) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/a: failed to pull: connect: connection refused"));
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_EQ(watcher.waiting(), 0U);
  ASSERT_EQ(seen.troubles.size(), 1U);
  EXPECT_NE(seen.troubles[0].find("pod evil/pod-s1: annotation \"fallbackd.io/image.web\""),
            std::string::npos);
  EXPECT_EQ(watcher.ignoredAnnotations().refused, 1U);
}

TEST_F(ChoosingTest, WhatIsLearnedOfAnAnnotatedImageStartsNothingElsewhere) {
  runtime.outcomeOf["r.x/checkout:1"] = {cri::PullOutcome::Kind::pulled, 0, ""};
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/broken:1"));
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addSandbox("s2", "shop", "checkout");
  events.send(Kind::task_started, "s2");
  ASSERT_TRUE(pulled("r.x/checkout:1")) << "it is probed, not known to fail";
  settle();
  for (const auto& detection : seen.detections) EXPECT_EQ(detection.sandbox.id, "s1");
}

/// A registry may refuse requests without a password, and still serve the node.
TEST_F(ChoosingTest, WhatIsSeenWithoutThePasswordDecidesNothingForThoseThatHaveIt) {
  config::Workload cart;
  cart.name = "cart";
  cart.match = {"shop", {{"app", "cart"}}, "main"};
  cart.image = "r.x/cart:1";
  cart.binary = {"cart", "1.0.0"};
  changed->workloads.push_back(cart);
  watcher.reconfigure(changed);
  const cri::PullOutcome refused{
      cri::PullOutcome::Kind::failed, 2,
      "failed to pull and unpack image \"r.x/a:1\": failed to resolve reference \"r.x/a:1\": unexpected "
      "status from HEAD request to https://r.x/v2/a/manifests/1: 429 Too Many Requests"};
  runtime.outcomeOf["r.x/checkout:1"] = runtime.outcomeOf["r.x/cart:1"] = refused;
  auto both = choice("r.x/checkout:1");
  both.insert({{"fallbackd.io/binary.other", "web@2.0.0"}, {"fallbackd.io/image.other", "r.x/cart:1"}});
  addChoosing("s1", "evil", both);
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.detections.size() >= 2; }));
  EXPECT_FALSE(runtime.lastCredentials);
  EXPECT_EQ(watcher.registries().at(0).state, Circuits::State::closed)
      << "a pod without the password opened the circuit of pods that have it";
  runtime.outcomeOf.clear();
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  runtime.pulls.clear();
  runtime.addSandbox("s2", "shop", "checkout");
  events.send(Kind::task_started, "s2");
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  settle();
  for (const auto& detection : seen.detections) EXPECT_EQ(detection.sandbox.id, "s1");
}

TEST_F(ChoosingTest, OfAThousandNamesAFewWait) {
  watcher.reconfigure(changed);
  cri::Labels annotations;
  for (int i = 0; i < 1000; ++i) {
    annotations["fallbackd.io/binary.c" + std::to_string(i)] = "web@2.0.0";
    annotations["fallbackd.io/image.c" + std::to_string(i)] = "r.x/c" + std::to_string(i);
  }
  addChoosing("s1", "evil", annotations);
  start();
  EXPECT_EQ(watcher.waiting(), kMaxChosenContainers);
  EXPECT_EQ(watcher.ignoredAnnotations().cutOff, 1000U - kMaxChosenContainers);
  EXPECT_TRUE(watcher.pods().at(0).sandbox.annotations.empty()) << "annotations are not kept";
}

TEST_F(ChoosingTest, ANamespaceHasALimitOverAllItsPodsAndGetsTheRoomBack) {
  watcher.reconfigure(changed);
  cri::Labels annotations;
  for (int i = 0; i < 16; ++i) {
    annotations["fallbackd.io/binary.c" + std::to_string(i)] = "web@2.0.0";
    annotations["fallbackd.io/image.c" + std::to_string(i)] = "r.x/c" + std::to_string(i);
  }
  for (int pod = 0; pod < 17; ++pod) addChoosing("s" + std::to_string(100 + pod), "evil", annotations);
  addChoosing("t1", "shop", choice("r.x/web:2"));
  start();
  EXPECT_EQ(watcher.waiting(), 256U + 1U);
  EXPECT_EQ(watcher.ignoredAnnotations().cutOff, 16U);
  ASSERT_FALSE(seen.troubles.empty());
  EXPECT_NE(seen.troubles.back().find("pod evil/pod-s116: too many containers of its namespace"),
            std::string::npos);
  runtime.sandboxes.erase("s100");
  ASSERT_TRUE(runUntil(loop, [&] { return watcher.ignoredAnnotations().cutOff == 0; }));
  EXPECT_EQ(watcher.waiting(), 256U + 1U);
}

TEST_F(ChoosingTest, MoreLabelsThanThereIsMemoryForAreNotKept) {
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  for (int i = 0; i < 1000; ++i) {
    runtime.sandboxes["s1"].sandbox.labels["label" + std::to_string(i)] = std::string(60, 'x');
  }
  start();
  EXPECT_EQ(watcher.waiting(), 1U) << "the labels that workloads match are kept";
  EXPECT_EQ(watcher.pods().at(0).sandbox.labels, (cri::Labels{{"app", "checkout"}}));
}

}  // namespace
}  // namespace fallbackd::watcher
