// SPDX-License-Identifier: Apache-2.0
// Rollouts that begin during an outage, for each kind of owner: no healthy pod is replaced by a fallback.
// Also what an owner reports about its ready pods when an image is back.
#include "kube_node.hpp"

#include <map>
#include <ostream>
#include <string>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

constexpr const char* kApps = "/apis/apps/v1/namespaces/shop/";

/// An owner that is rolling out revision 2, or has rolled out revision 1.
struct Owner {
  std::string kind;
  int wanted = 1;
  int revision = 1;
  int readyOld = 0;  // pods of revision 1 that are ready

  [[nodiscard]] bool rollsOut() const { return revision == 2; }
};

json::object condition(bool done) {
  return {{"type", "Progressing"},
          {"status", "True"},
          {"reason", done ? "NewReplicaSetAvailable" : "ReplicaSetUpdated"}};
}

class StandInOwners : public KubeNodeTest {
 protected:
  void SetUp() override {
    shopOptions_.node = nodeOfReport();
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    runDaemon("[apiserver]", [](DaemonOptions& options) {
      options.launcher += "  logLinks: " + makeRunDir("log-links").string() + "\n";
    });
  }

  void put(const Owner& owner) {
    if (owner.kind == "ReplicaSet") {
      for (const int revision : {1, 2}) putReplicaSet(owner, revision);
      putObject(
          "deployments", "d-1", owner,
          {{"annotations",
            json::object{{"deployment.kubernetes.io/revision", std::to_string(owner.revision)}}}},
          {{"readyReplicas", owner.readyOld}, {"conditions", json::array{condition(!owner.rollsOut())}}});
    } else if (owner.kind == "StatefulSet") {
      putObject("statefulsets", "o-1", owner, {},
                {{"readyReplicas", owner.readyOld},
                 {"updatedReplicas", owner.rollsOut() ? 1 : 0},
                 {"currentRevision", "checkout-1"},
                 {"updateRevision", "checkout-" + std::to_string(owner.revision)}});
    } else {
      putObject("daemonsets", "o-1", owner,
                {{"annotations", json::object{{"deprecated.daemonset.template.generation",
                                               std::to_string(owner.revision)}}}},
                {{"desiredNumberScheduled", owner.wanted},
                 {"updatedNumberScheduled", owner.rollsOut() ? 1 : owner.wanted},
                 {"numberReady", owner.readyOld}});
    }
  }
  void start(const Owner& owner, const std::string& name, int revision) {
    auto spec = checkoutPod(name);
    spec.uid = makeUid();
    uids_[name] = spec.uid;
    const auto number = std::to_string(revision);
    revisions_[name] = number;
    putPod(owner, name, false);
    ASSERT_TRUE(waitUntil(kCeiling, [&] {
      return shown() == "apiserver=up " + std::to_string(uids_.size()) + " pods";
    })) << shown();
    E2E_TRY(const auto made, shop_->kubelet->startPod(spec));
    static_cast<void>(made);
    ASSERT_TRUE(reaches(name, "ready")) << shop_->daemon->logText();
  }
  /// Puts the pod as the API server describes it.
  void putPod(const Owner& owner, const std::string& name, bool ready) {
    auto pod = json::parse(kube_test::podJson(name, uids_.at(name), nodeName(), shop_->image())).as_object();
    pod.at("spec").at("containers").as_array().at(0).as_object()["name"] = "checkout";
    const auto& number = revisions_.at(name);
    auto& metadata = pod.at("metadata").as_object();
    auto& labels = metadata.at("labels").as_object();
    labels["controller-revision-hash"] = "checkout-" + number;
    labels["pod-template-generation"] = number;
    const bool replicaSet = owner.kind == "ReplicaSet";
    metadata["ownerReferences"] =
        json::array{json::object{{"apiVersion", "apps/v1"},
                                 {"kind", owner.kind},
                                 {"name", replicaSet ? "checkout-" + number : "checkout"},
                                 {"uid", replicaSet ? "rs-" + number : "o-1"},
                                 {"controller", true}}};
    pod.at("status").as_object()["conditions"] =
        json::array{json::object{{"type", "Ready"}, {"status", ready ? "True" : "False"}}};
    api_.put(json::serialize(pod));
  }
  [[nodiscard]] std::string explain(const std::string& name) const {
    return explanationOf(*shop_->daemon, name);
  }
  [[nodiscard]] bool explains(const std::string& name, const std::string& words) const {
    return waitUntil(kCeiling, [&] { return explain(name).find(words) != std::string::npos; });
  }
  [[nodiscard]] double standIns() const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, "fallbackd_active_stand_ins") : -1;
  }

 private:
  void putReplicaSet(const Owner& owner, int revision) {
    const auto number = std::to_string(revision);
    api_.putOwner(
        kApps + std::string("replicasets/checkout-") + number,
        json::serialize(json::object{
            {"metadata",
             json::object{{"uid", "rs-" + number},
                          {"annotations", json::object{{"deployment.kubernetes.io/revision", number}}},
                          {"ownerReferences", json::array{json::object{{"apiVersion", "apps/v1"},
                                                                       {"kind", "Deployment"},
                                                                       {"name", "checkout"},
                                                                       {"uid", "d-1"},
                                                                       {"controller", true}}}}}},
            {"status", json::object{{"readyReplicas", revision == 1 ? owner.readyOld : 0}}}}));
  }
  void putObject(const std::string& resource, const std::string& uid, const Owner& owner,
                 json::object metadata, json::object status) {
    metadata["uid"] = uid;
    metadata["generation"] = owner.revision;
    status["observedGeneration"] = owner.revision;
    api_.putOwner(kApps + resource + "/checkout",
                  json::serialize(json::object{{"metadata", std::move(metadata)},
                                               {"spec", json::object{{"replicas", owner.wanted}}},
                                               {"status", std::move(status)}}));
  }

  std::map<std::string, std::string> uids_;       // by name
  std::map<std::string, std::string> revisions_;  // by name
};

struct Rollout {
  std::string kind;
  int wanted;
  int readyOld;  // while the new pod waits
};
void PrintTo(const Rollout& one, std::ostream* out) {
  *out << one.kind << " of " << one.wanted << ", " << one.readyOld << " ready";
}

class BothWays : public StandInOwners, public testing::WithParamInterface<Rollout> {};

TEST_P(BothWays, ARolloutThatBeginsDuringTheOutageReplacesNoHealthyPod) {
  const auto& given = GetParam();
  Owner owner{given.kind, given.wanted, 1, given.wanted};
  put(owner);
  // A pod of the rolled-out revision, which lost its image.
  ASSERT_NO_FATAL_FAILURE(start(owner, "checkout-0", 1));
  ASSERT_TRUE(explains("checkout-0", "kubelet sees the pod run"))
      << explain("checkout-0") << shop_->daemon->logText();

  owner.revision = 2;
  owner.readyOld = given.readyOld;
  put(owner);
  ASSERT_NO_FATAL_FAILURE(start(owner, "checkout-1", 2));
  if (given.readyOld > 0) {
    EXPECT_TRUE(explains("checkout-1", "Kubernetes does not see the pod run yet")) << explain("checkout-1");
    EXPECT_THAT(explain("checkout-1"), HasSubstr("is being rolled out"));
    EXPECT_EQ(standIns(), 1) << "the older revision's stand-in stays";
  } else {
    EXPECT_TRUE(explains("checkout-1", "kubelet sees the pod run")) << "there is nothing healthy to replace";
    EXPECT_EQ(standIns(), 2);
  }
  EXPECT_THAT(explain("checkout-0"), HasSubstr("kubelet sees the pod run"));
  // Then a pod of the older revision loses its image.
  ASSERT_NO_FATAL_FAILURE(start(owner, "checkout-2", 1));
  EXPECT_TRUE(explains("checkout-2", "kubelet sees the pod run")) << explain("checkout-2");
  EXPECT_THAT(api_.violations(), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Owners, BothWays,
                         testing::Values(Rollout{"ReplicaSet", 1, 1}, Rollout{"ReplicaSet", 3, 3},
                                         Rollout{"ReplicaSet", 1, 0}, Rollout{"StatefulSet", 1, 0},
                                         Rollout{"StatefulSet", 3, 2}, Rollout{"DaemonSet", 1, 0},
                                         Rollout{"DaemonSet", 3, 2}));

class LastEndpoint : public StandInOwners {
 protected:
  void bringImage() {
    E2E_CHECK(shop_->registry.start());
    E2E_TRY(const auto pushed,
            shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
    static_cast<void>(pushed);
  }
};

TEST_F(LastEndpoint, TheOnlyReadyPodOfSeveralMakesWayOnceAnotherIsReady) {
  Owner owner{"ReplicaSet", 3, 1, 1};
  put(owner);
  ASSERT_NO_FATAL_FAILURE(start(owner, "checkout-0", 1));
  ASSERT_TRUE(explains("checkout-0", "kubelet sees the pod run")) << shop_->daemon->logText();
  putPod(owner, "checkout-0", true);
  ASSERT_NO_FATAL_FAILURE(bringImage());
  ASSERT_TRUE(explains("checkout-0", "none of the other 2 pods of its workload is ready"))
      << explain("checkout-0") << shop_->daemon->logText();
  EXPECT_EQ(standIns(), 1);
  owner.readyOld = 2;
  put(owner);
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return standIns() == 0; })) << explain("checkout-0");
  EXPECT_THAT(explain("checkout-0"), HasSubstr("kubelet makes the container"));
}

}  // namespace
}  // namespace fallbackd::e2e
