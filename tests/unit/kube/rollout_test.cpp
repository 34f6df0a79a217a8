// SPDX-License-Identifier: Apache-2.0
// Whether a pod's revision has been rolled out, for a table of owners.
#include "kube/rollout.hpp"

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

namespace json = boost::json;

json::object objectOf(const std::string& text) {
  return json::parse(text).as_object();
}

std::string shown(const std::optional<bool>& value) {
  return !value ? "?" : *value ? "yes" : "no";
}

/// "complete any=yes other=no"
std::string shown(const RolloutView& view) {
  return std::string(toString(view.rollout)) + " any=" + shown(view.anyReady) +
         " other=" + shown(view.otherRevisionReady);
}

PodObject podOf(const std::string& kind, const std::string& name = "web-0") {
  PodObject pod;
  pod.uid = "uid-1";
  pod.name = name;
  pod.namespaceName = "shop";
  pod.owner = Owner{"apps/v1", kind, "web", "owner-uid"};
  return pod;
}

TEST(Rollout, OfADeployment) {
  const auto look = [](const std::string& revision, int readyOfSet, const std::string& deployment) {
    const auto set = objectOf(
        R"({"metadata":{"uid":"owner-uid","annotations":{"deployment.kubernetes.io/revision":")" + revision +
        R"("},"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"d-uid","controller":true}]},"status":{"readyReplicas":)" +
        std::to_string(readyOfSet) + "}}");
    const auto above = objectOf(
        R"({"metadata":{"uid":"d-uid","generation":4,"annotations":{"deployment.kubernetes.io/revision":"3"}},)" +
        deployment + "}");
    return shown(rolloutOf(podOf("ReplicaSet"), {&set, &above}));
  };
  const std::string kDone =
      R"("status":{"observedGeneration":4,"readyReplicas":2,"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]})";
  const std::string kUnderWay =
      R"("status":{"observedGeneration":4,"readyReplicas":2,"conditions":[{"type":"Progressing","status":"True","reason":"ReplicaSetUpdated"}]})";
  const std::string kStuck =
      R"("status":{"observedGeneration":4,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]})";
  EXPECT_EQ(look("3", 2, kDone), "complete any=yes other=no");
  EXPECT_EQ(look("3", 0, kUnderWay), "in-progress any=yes other=yes");
  EXPECT_EQ(look("3", 0, kStuck), "in-progress any=no other=no")
      << "no other pod exists that could be replaced";
  EXPECT_EQ(look("2", 2, kUnderWay), "complete any=yes other=no") << "an older revision";
  EXPECT_EQ(look("4", 0, kDone), "in-progress any=yes other=yes") << "newer than the status";
  EXPECT_EQ(look("10", 0, kDone), "in-progress any=yes other=yes") << "numbers, not texts";
  EXPECT_EQ(look("x", 0, kDone), "unknown any=yes other=yes");
  EXPECT_EQ(
      look(
          "3", 0,
          R"("status":{"observedGeneration":3,"conditions":[{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]})"),
      "in-progress any=no other=no")
      << "the controller has not seen the change";
  EXPECT_EQ(
      look("3", 1, R"("status":{"observedGeneration":4,"replicas":2,"updatedReplicas":2,"readyReplicas":1})"),
      "complete any=yes other=no")
      << "no progress deadline";
  EXPECT_EQ(
      look("3", 0, R"("status":{"observedGeneration":4,"replicas":3,"updatedReplicas":1,"readyReplicas":2})"),
      "in-progress any=yes other=yes");
}

TEST(Rollout, OfAReplicaSetWithAndWithoutAnOwner) {
  const auto alone = objectOf(R"({"metadata":{"uid":"owner-uid"},"status":{"readyReplicas":1}})");
  EXPECT_EQ(shown(rolloutOf(podOf("ReplicaSet"), {&alone, nullptr})), "complete any=yes other=no");
  const auto custom = objectOf(
      R"({"metadata":{"uid":"owner-uid","ownerReferences":[{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","name":"w","uid":"r","controller":true}]}})");
  const auto view = rolloutOf(podOf("ReplicaSet"), {&custom, nullptr});
  EXPECT_EQ(shown(view), "unknown any=? other=?");
  EXPECT_EQ(view.why, "rollouts of a Rollout are not known");
  const auto missing = objectOf(
      R"({"metadata":{"uid":"owner-uid","ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"w","uid":"d","controller":true}]}})");
  const auto another = objectOf(R"({"metadata":{"uid":"another"}})");
  EXPECT_EQ(shown(rolloutOf(podOf("ReplicaSet"), {&missing, nullptr})), "unknown any=? other=?");
  EXPECT_EQ(shown(rolloutOf(podOf("ReplicaSet"), {&missing, &another})), "unknown any=? other=?");
  EXPECT_EQ(shown(rolloutOf(podOf("ReplicaSet"), {&another, nullptr})), "unknown any=? other=?");
}

TEST(Rollout, OfAStatefulSet) {
  const auto look = [](const std::string& hash, const std::string& spec, const std::string& status,
                       const std::string& name = "web-1") {
    auto pod = podOf("StatefulSet", name);
    if (!hash.empty()) pod.labels["controller-revision-hash"] = hash;
    const auto set = objectOf(R"({"metadata":{"uid":"owner-uid","generation":2},"spec":{)" + spec +
                              R"(},"status":{"observedGeneration":2,)" + status + "}}");
    return shown(rolloutOf(pod, {&set, nullptr}));
  };
  const std::string kSame = R"("currentRevision":"web-a","updateRevision":"web-a","readyReplicas":2)";
  const std::string kUnderWay =
      R"("currentRevision":"web-a","updateRevision":"web-b","readyReplicas":2,"updatedReplicas":1)";
  const std::string kPartition =
      R"("updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}})";
  EXPECT_EQ(look("web-a", "", kSame), "complete any=yes other=no");
  EXPECT_EQ(look("web-b", "", kUnderWay), "in-progress any=yes other=yes");
  EXPECT_EQ(look("web-a", "", kUnderWay), "complete any=yes other=?") << "it has the current revision";
  EXPECT_EQ(look("web-0", "", kUnderWay), "complete any=yes other=?") << "an older revision";
  EXPECT_EQ(look("web-b", kPartition, kUnderWay), "complete any=yes other=yes") << "below the partition";
  EXPECT_EQ(look("web-b", kPartition, kUnderWay, "web-2"), "in-progress any=yes other=yes");
  EXPECT_EQ(look("web-b", kPartition + R"(,"ordinals":{"start":5})", kUnderWay, "web-6"),
            "complete any=yes other=yes")
      << "a partition counts from the first ordinal";
  EXPECT_EQ(look("web-b", R"("updateStrategy":{"type":"OnDelete"})", kUnderWay),
            "complete any=yes other=yes");
  EXPECT_EQ(look("web-b", "", R"("currentRevision":"web-a","updateRevision":"web-b")"),
            "in-progress any=no other=no");
  EXPECT_EQ(look("", "", kSame), "unknown any=yes other=?");
  EXPECT_EQ(look("web-a", "", R"("readyReplicas":1)"), "unknown any=yes other=?");
}

TEST(Rollout, OfAStatefulSetWhoseControllerLagsBehind) {
  auto pod = podOf("StatefulSet", "web-1");
  pod.labels["controller-revision-hash"] = "web-c";
  const auto set = objectOf(
      R"({"metadata":{"uid":"owner-uid","generation":3},"spec":{},"status":{"observedGeneration":2,"currentRevision":"web-a","updateRevision":"web-a","readyReplicas":1}})");
  EXPECT_EQ(shown(rolloutOf(pod, {&set, nullptr})), "in-progress any=yes other=?");
}

TEST(Rollout, OfADaemonSet) {
  const auto look = [](const std::string& generation, const std::string& spec, const std::string& status) {
    auto pod = podOf("DaemonSet");
    if (!generation.empty()) pod.labels["pod-template-generation"] = generation;
    const auto set = objectOf(
        R"({"metadata":{"uid":"owner-uid","generation":7,"annotations":{"deprecated.daemonset.template.generation":"3"}},"spec":{)" +
        spec + R"(},"status":{"observedGeneration":7,)" + status + "}}");
    return shown(rolloutOf(pod, {&set, nullptr}));
  };
  const std::string kDone = R"("desiredNumberScheduled":3,"updatedNumberScheduled":3,"numberReady":2)";
  const std::string kUnderWay = R"("desiredNumberScheduled":3,"updatedNumberScheduled":1,"numberReady":2)";
  EXPECT_EQ(look("3", "", kDone), "complete any=yes other=no");
  EXPECT_EQ(look("3", "", kUnderWay), "in-progress any=yes other=yes");
  EXPECT_EQ(look("2", "", kUnderWay), "complete any=yes other=?") << "an older revision";
  EXPECT_EQ(look("4", "", kDone), "in-progress any=yes other=no") << "newer than the set";
  EXPECT_EQ(look("3", R"("updateStrategy":{"type":"OnDelete"})", kUnderWay), "complete any=yes other=?");
  EXPECT_EQ(look("", "", kDone), "unknown any=yes other=?");
  EXPECT_EQ(look("3", "", R"("desiredNumberScheduled":3,"updatedNumberScheduled":1)"),
            "in-progress any=no other=no");
}

TEST(Rollout, OfOthers) {
  EXPECT_EQ(shown(rolloutOf(podOf("Job"), {})), "unknown any=? other=?");
  auto custom = podOf("StatefulSet");
  custom.owner->apiVersion = "apps.kruise.io/v1beta1";
  EXPECT_EQ(shown(rolloutOf(custom, {})), "unknown any=? other=?");
  EXPECT_EQ(shown(rolloutOf(podOf("DaemonSet"), {})), "unknown any=? other=?")
      << "the owner could not be read";
  EXPECT_EQ(shown(rolloutOf(podOf("Node"), {})), "complete any=? other=no");
  PodObject bare;
  EXPECT_EQ(shown(rolloutOf(bare, {})), "complete any=? other=no");
  const auto odd = objectOf(R"({"metadata":{"uid":"owner-uid"},"spec":5,"status":[]})");
  EXPECT_EQ(shown(rolloutOf(podOf("StatefulSet"), {&odd, nullptr})), "unknown any=no other=no");
  EXPECT_EQ(shown(rolloutOf(podOf("DaemonSet"), {&odd, nullptr})), "unknown any=no other=?");
}

}  // namespace
}  // namespace fallbackd::kube
