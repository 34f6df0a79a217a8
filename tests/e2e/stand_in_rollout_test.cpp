// SPDX-License-Identifier: Apache-2.0
// settle: auto, with an API server that says how far a rollout is.
#include "kube_node.hpp"

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
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    api_.putOwner("/apis/apps/v1/namespaces/shop/replicasets/checkout-5d4f", kReplicaSet);
    runDaemon("[apiserver]", [](DaemonOptions& options) {
      options.extra += "settle: auto\n";
      options.launcher += "  logLinks: " + makeRunDir("log-links").string() + "\n";
    });
  }
  /// Its second revision. `ready`: pods of the first that are.
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
    E2E_TRY(const auto made, shop_->kubelet->startPod(spec));
    static_cast<void>(made);
    ASSERT_TRUE(reaches("web-0", "ready")) << shop_->daemon->logText();
  }
  [[nodiscard]] std::string explain() const {
    const auto ran = runOk({.argv = {binary("fallbackctl"), "explain", "shop/web-0", "--socket",
                                     shop_->daemon->controlSocket().string()}});
    return ran ? *ran : ran.error().message();
  }
  [[nodiscard]] bool explains(const std::string& words) const {
    return waitUntil(kCeiling, [&] { return explain().find(words) != std::string::npos; });
  }

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

TEST_F(StandInRollout, APodThatEndsIsNeverSettled) {
  deploy("NewReplicaSetAvailable", 0);
  ASSERT_NO_FATAL_FAILURE(startPod("OnFailure"));
  EXPECT_TRUE(explains("would count as completed or failed")) << explain();
}

}  // namespace
}  // namespace fallbackd::e2e
