// SPDX-License-Identifier: Apache-2.0
// settle: auto, with an API server that reports the progress of a rollout.
#include "kube_node.hpp"

#include <algorithm>
#include <string>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

constexpr const char* kReplicaSet =
    R"({"metadata":{"uid":"rs-1","annotations":{"deployment.kubernetes.io/revision":"2"},
        "ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"checkout","uid":"d-1","controller":true}]},
        "status":{"readyReplicas":0}})";

class StandInRollout : public KubeNodeTest {
 protected:
  void SetUp() override {
    shopOptions_.node = nodeOfReport();
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    api_.putOwner("/apis/apps/v1/namespaces/shop/replicasets/checkout-5d4f", kReplicaSet);
    runDaemon("[apiserver]", [](DaemonOptions& options) {
      options.extra += "settle: auto\n";
      options.launcher += "  logLinks: " + makeRunDir("log-links").string() + "\n";
    });
  }
  /// The Deployment's second revision. `ready`: ready pods of the first one.
  void deploy(const std::string& progress, int ready) {
    api_.putOwner(
        "/apis/apps/v1/namespaces/shop/deployments/checkout",
        R"({"metadata":{"uid":"d-1","generation":2,"annotations":{"deployment.kubernetes.io/revision":"2"}},
        "status":{"observedGeneration":2,"readyReplicas":)" +
            std::to_string(ready) + R"(,"conditions":[{"type":"Progressing","status":"True","reason":")" +
            progress + R"("}]}})");
  }
  void startPod(const std::string& restartPolicy = "Always") {
    auto spec = checkoutPod("web-0");
    spec.uid = kUid;
    auto pod = json::parse(kube_test::podJson("web-0", kUid, nodeName(), shop_->image())).as_object();
    auto& container = pod.at("spec").at("containers").as_array().at(0).as_object();
    container["name"] = "checkout";
    pod.at("spec").as_object()["restartPolicy"] = restartPolicy;
    api_.put(json::serialize(pod));
    ASSERT_TRUE(shows("apiserver=up 1 pods")) << shown();
    E2E_TRY(pod_, shop_->kubelet->startPod(spec));
    ASSERT_TRUE(reaches("web-0", "ready")) << shop_->daemon->logText();
  }
  [[nodiscard]] std::string explain() const { return explanationOf(*shop_->daemon, "web-0"); }
  [[nodiscard]] bool explains(const std::string& words) const {
    return waitUntil(kCeiling, [&] { return explain().find(words) != std::string::npos; });
  }

  Pod pod_;
  static constexpr const char* kUid = "0b0e7a50-5f2c-4a86-9a57-2f9d5a1f3c11";
};

TEST_F(StandInRollout, APodOfARevisionThatWasRolledOutIsSettled) {
  deploy("NewReplicaSetAvailable", 0);
  ASSERT_NO_FATAL_FAILURE(startPod());
  EXPECT_TRUE(explains("kubelet sees the pod run")) << explain() << shop_->daemon->logText();
  EXPECT_THAT(api_.violations(), testing::IsEmpty());
}

TEST_F(StandInRollout, APodThatReplacesHealthyOnesIsHeldAndStillRescued) {
  deploy("ReplicaSetUpdated", 2);
  ASSERT_NO_FATAL_FAILURE(startPod());
  EXPECT_TRUE(explains("the Deployment is being rolled out")) << explain();
  EXPECT_THAT(explain(), HasSubstr("Kubernetes does not see the pod run yet"));
  const auto metrics = shop_->daemon->metrics();
  ASSERT_TRUE(metrics);
  EXPECT_EQ(sumOf(*metrics, "fallbackd_stand_ins_total", "result=\"held\""), 1);
  EXPECT_EQ(sumOf(*metrics, "fallbackd_stand_ins_total", "result=\"started\""), 0);
}

TEST_F(StandInRollout, AnUninstallRemovesStandInsAndAnUpgradeKeepsThem) {
  constexpr const char* kOwn = "/apis/apps/v1/namespaces/fallbackd-system/daemonsets/fallbackd";
  const auto standIns = [&] {
    const auto list = shop_->node->ctr({"images", "ls", "-q"});
    EXPECT_TRUE(list);
    return list && list->find("fallbackd.io/") != std::string::npos;
  };
  const auto timesAsked = [&] {
    const auto all = api_.requests();
    return std::count_if(all.begin(), all.end(), [&](const auto& one) { return one.path == kOwn; });
  };
  api_.putOwner(kOwn, R"({"metadata":{"name":"fallbackd"}})");
  shop_->daemon->arguments({"--daemon-set", "fallbackd-system/fallbackd"});
  E2E_TRY(const auto first, shop_->daemon->stop());
  EXPECT_EQ(first, 0);
  E2E_CHECK(shop_->daemon->restart());
  deploy("NewReplicaSetAvailable", 0);
  ASSERT_NO_FATAL_FAILURE(startPod());
  ASSERT_TRUE(explains("kubelet sees the pod run")) << explain();

  E2E_TRY(const auto upgraded, shop_->daemon->stop());
  EXPECT_EQ(upgraded, 0);
  EXPECT_TRUE(standIns()) << "the DaemonSet still exists";
  const auto asked = timesAsked();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(explains("an earlier fallbackd made it")) << explain();

  ASSERT_TRUE(waitUntil(kCeiling, [&] { return timesAsked() > asked; }));
  api_.removeOwner(kOwn);
  E2E_TRY(const auto ended, shop_->daemon->stop());
  EXPECT_EQ(ended, 0);
  EXPECT_FALSE(standIns()) << shop_->daemon->logText();
  const auto answer = httpGet(pod_.ip, Shop::kPort, "/", kCeiling);
  EXPECT_TRUE(answer) << "the fallback keeps serving";
}

TEST_F(StandInRollout, APodThatEndsIsNeverSettled) {
  deploy("NewReplicaSetAvailable", 0);
  ASSERT_NO_FATAL_FAILURE(startPod("OnFailure"));
  EXPECT_TRUE(explains("would count as completed or failed")) << explain();
}

}  // namespace
}  // namespace fallbackd::e2e
