// SPDX-License-Identifier: Apache-2.0
// The daemon with an API server and a kubelet that describe its pods: what it shows, and that recoveries do
// not depend on any answer.
#include "kube_node.hpp"

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using kube_test::Fault;
using kube_test::podJson;
using testing::HasSubstr;

class PodSources : public KubeNodeTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    runDaemon("[kubelet, apiserver]", [](DaemonOptions&) {});
  }
  void rescue(const std::string& name) {
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod(name)));
    static_cast<void>(pod);
    ASSERT_TRUE(reaches(name, "ready")) << shop_->daemon->logText();
  }
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
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("list and watch pods"));
  api_.heal();
  kubelet_.heal();
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return shown().find("apiserver=up") != std::string::npos; }))
      << shown();
}

}  // namespace
}  // namespace fallbackd::e2e
