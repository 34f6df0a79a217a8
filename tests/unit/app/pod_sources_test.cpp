// SPDX-License-Identifier: Apache-2.0
// The requests about a waiting pod and when they are sent, with real servers on loopback.
#include "app/pod_sources.hpp"

#include "kube/authority.hpp"
#include "kube/fake_api_server.hpp"
#include "kube/fake_kubelet.hpp"
#include "kubeconfig_text.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::app {
namespace {

using namespace std::chrono_literals;
using kube_test::podJson;

struct PodSourcesTest : testing::Test {
  PodSourcesTest() {
    api.acceptTokens({"secret-1"});
    kubelet.acceptTokens({"secret-1"});
    folder.write("token", "secret-1");
    folder.write("ca.crt", authority.certificate());
    config.cache.state = folder.path();
    auto& settings = config.kubernetes;
    settings.sources = {config::PodSource::kubelet, config::PodSource::apiserver};
    settings.kubeconfig = folder.write("kubeconfig", test::kubeconfigFor(api.address()));
    settings.kubeletAddress = kubelet.address();
    settings.kubeletCertificate = folder.write("kubelet.crt", own.certificate);
    settings.viewFile = folder.path() + "/pods.view";
    options.nodeName = "node-1";
  }
  ~PodSourcesTest() override { sources.stop(); }
  bool soon(const std::function<bool()>& done) { return test::runWhileTimeStands(loop, done); }
  bool knows(const std::string& uid) { return sources.pods().find(uid) != nullptr; }

  boost::asio::io_context loop{1};
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::TempFolder folder;
  kube_test::Authority authority{"cluster"};
  kube_test::Leaf own = kube_test::Authority::selfSigned("DNS:node-1");
  kube_test::FakeApiServer api{authority.server("IP:127.0.0.1")};
  kube_test::FakeKubelet kubelet{own};
  config::Config config;
  Options options;
  telemetry::Log log{config::LogFormat::json, config::LogLevel::error};
  PodSources sources{log, 8'000};
};

TEST_F(PodSourcesTest, AnUnknownPodIsQueriedAtOnceAndAKnownOneLater) {
  api.put(podJson("checkout-1", "uid-1"));
  kubelet.setPods({podJson("checkout-1", "uid-1"), podJson("checkout-2", "uid-2")});
  sources.start(loop.get_executor(), config, options);
  ASSERT_TRUE(soon([&] { return knows("uid-1"); }));
  sources.podWaits("uid-1");
  sources.podWaits("uid-1");
  sources.podWaits("uid-2");
  ASSERT_TRUE(soon([&] { return knows("uid-2"); }));
  EXPECT_EQ(kubelet.requests().size(), 1U);
  // All immediate requests have been answered. The others are sent later.
  clock.advance(loop, 500ms);
  EXPECT_TRUE(soon([&] { return kubelet.requests().size() == 2; }));
  // One request each time that the pod waits, and only one at a time.
  sources.podWaits("uid-1");
  clock.advance(loop, 500ms);
  EXPECT_TRUE(soon([&] { return kubelet.requests().size() == 3; }));
}

/// If no source has described a pod, no source reports its end either: only its sandbox does.
TEST_F(PodSourcesTest, UndescribedPodsDoNotBlockQueriesForKnownPods) {
  api.put(podJson("checkout-1", "uid-1"));
  sources.start(loop.get_executor(), config, options);
  ASSERT_TRUE(soon([&] { return knows("uid-1"); }));
  for (std::size_t i = 0; i < kube::View::kMaxPods; ++i) {
    const auto uid = "unknown-" + std::to_string(i);
    sources.podWaits(uid);
    sources.podGone(uid);
  }
  sources.askRollout("uid-1");
  EXPECT_TRUE(soon([&] { return sources.rollout("uid-1").has_value(); }));
}

TEST_F(PodSourcesTest, AKnownPodIsQueriedAgainWhileManyOthersWait) {
  api.put(podJson("checkout-1", "uid-1"));
  sources.start(loop.get_executor(), config, options);
  ASSERT_TRUE(soon([&] { return knows("uid-1"); }));
  sources.podWaits("uid-1");
  for (std::size_t i = 0; i < kube::View::kMaxPods; ++i) sources.podWaits("unknown-" + std::to_string(i));
  ASSERT_TRUE(soon([&] { return sources.rollout("uid-1").has_value(); }));
  clock.advance(loop, 1s);
  sources.askRollout("uid-1");
  EXPECT_TRUE(soon([&] { return sources.endpoints("uid-1").value().asOf == clock.now(); }));
}

/// kubelet returns only lists, and after an interrupted watch the API server's list contains the missed
/// changes.
TEST_F(PodSourcesTest, AStatusFromAListIsReported) {
  std::vector<std::string> told;
  sources.onStatus([&](const std::string& uid) { told.push_back(uid); });
  api.put(podJson("checkout-1", "uid-1"));
  sources.start(loop.get_executor(), config, options);
  ASSERT_TRUE(soon([&] { return knows("uid-1"); }));
  EXPECT_FALSE(told.empty());
  told.clear();
  kubelet.setPods({podJson("checkout-1", "uid-1"), podJson("checkout-2", "uid-2")});
  sources.podWaits("uid-2");
  ASSERT_TRUE(soon([&] { return knows("uid-2"); }));
  EXPECT_EQ(told, std::vector<std::string>{""});
}

/// Otherwise a recovery that found no specification would go on without it until the pod changes.
TEST_F(PodSourcesTest, ASpecificationThatHasRoomAgainIsReported) {
  const auto large = podJson("checkout-1", "uid-1", "node-1", std::string(5'000, 'x'));
  std::vector<std::string> told;
  sources.onChange([&](const std::string& uid) { told.push_back(uid); });
  api.put(podJson("checkout-0", "uid-0"));
  sources.start(loop.get_executor(), config, options);
  ASSERT_TRUE(soon([&] { return knows("uid-0"); }));
  api.put(large);
  ASSERT_TRUE(soon([&] { return knows("uid-1"); }));
  ASSERT_NE(sources.find("uid-1", "shop", "checkout-1"), nullptr);
  api.put(podJson("checkout-2", "uid-2", "node-1", std::string(4'500, 'x')));
  ASSERT_TRUE(soon([&] { return knows("uid-2"); }));
  ASSERT_EQ(sources.find("uid-1", "shop", "checkout-1"), nullptr) << "there is no room for both";
  api.remove("uid-2");
  ASSERT_TRUE(soon([&] { return !knows("uid-2"); }));
  told.clear();
  const auto putAgain = [&] {
    const auto before = sources.pods().find("uid-1");
    api.put(large);
    return soon([&] { return sources.pods().find("uid-1") != before; });
  };
  ASSERT_TRUE(putAgain());
  EXPECT_EQ(told, std::vector<std::string>{"uid-1"});
  EXPECT_NE(sources.find("uid-1", "shop", "checkout-1"), nullptr);
  ASSERT_TRUE(putAgain());
  EXPECT_EQ(told.size(), 1U) << "only its status may differ";
}

}  // namespace
}  // namespace fallbackd::app
