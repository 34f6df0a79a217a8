// SPDX-License-Identifier: Apache-2.0
#include "kube/rollout.hpp"

#include "kube/json_fields.hpp"

#include <charconv>

namespace fallbackd::kube {

namespace {

namespace json = boost::json;

// Labels and annotations that Kubernetes' controllers set.
constexpr const char* kRevisionOfDeployment = "deployment.kubernetes.io/revision";
constexpr const char* kRevisionHash = "controller-revision-hash";
constexpr const char* kTemplateGeneration = "pod-template-generation";
constexpr const char* kTemplateGenerationOfSet = "deprecated.daemonset.template.generation";
constexpr const char* kPodIndex = "apps.kubernetes.io/pod-index";

RolloutView verdict(RolloutView view, Rollout rollout, std::string why) {
  view.rollout = rollout;
  view.why = std::move(why);
  return view;
}

std::optional<std::int64_t> asNumber(const std::string& text) {
  std::int64_t value = 0;
  const auto* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return value;
}

std::optional<std::int64_t> annotatedNumber(const json::object& object, const char* key) {
  const auto* const annotations = field::objectAt(object, {"metadata", "annotations"});
  return annotations == nullptr ? std::nullopt : asNumber(field::text(*annotations, key));
}

std::string labelOf(const PodObject& pod, const char* key) {
  const auto found = pod.labels.find(key);
  return found == pod.labels.end() ? std::string() : found->second;
}

bool isThatOne(const json::object* object, const Owner& owner) {
  const auto* const metadata = object == nullptr ? nullptr : field::object(*object, "metadata");
  return metadata != nullptr && field::text(*metadata, "uid") == owner.uid;
}

/// The controller has seen the latest change of the object.
bool isObserved(const json::object& object) {
  const auto generation = field::number(field::object(object, "metadata"), "generation");
  const auto observed = field::number(field::object(object, "status"), "observedGeneration");
  return generation && observed && *observed >= *generation;
}

/// A status omits counts that are 0.
std::int64_t countOf(const json::object& object, const char* key) {
  return field::number(field::object(object, "status"), key).value_or(0);
}

/// What `spec.replicas` says; the API's default is 1.
std::int64_t replicasOf(const json::object& object) {
  return field::number(field::object(object, "spec"), "replicas").value_or(1);
}

bool updatesOnDelete(const json::object& set) {
  const auto* const strategy = field::objectAt(set, {"spec", "updateStrategy"});
  return strategy != nullptr && field::text(*strategy, "type") == "OnDelete";
}

/// Status and reason of the condition Progressing; empty if there is none.
std::string progressOf(const json::object& deployment) {
  const auto* const status = field::object(deployment, "status");
  const auto* const conditions = status == nullptr ? nullptr : field::array(*status, "conditions");
  if (conditions == nullptr) return {};
  for (const auto& item : *conditions) {
    const auto* const condition = item.if_object();
    if (condition != nullptr && field::text(*condition, "type") == "Progressing") {
      return field::text(*condition, "status") + "/" + field::text(*condition, "reason");
    }
  }
  return {};
}

RolloutView ofDeployment(const json::object& deployment, const json::object& replicaSet) {
  RolloutView view;
  const auto ready = countOf(deployment, "readyReplicas");
  view.anyReady = ready > 0;
  view.wanted = replicasOf(deployment);
  view.ready = ready;
  view.otherRevisionReady = ready > countOf(replicaSet, "readyReplicas");
  const auto latest = annotatedNumber(deployment, kRevisionOfDeployment);
  const auto ours = annotatedNumber(replicaSet, kRevisionOfDeployment);
  if (!latest || !ours)
    return verdict(view, Rollout::unknown, "the Deployment does not number its revisions");
  if (*ours < *latest) return verdict(view, Rollout::complete, "the pod is of an older revision");
  if (*ours > *latest || !isObserved(deployment)) {
    return verdict(view, Rollout::in_progress, "the Deployment has changed, and its status is older");
  }
  const auto progress = progressOf(deployment);
  if (progress == "True/NewReplicaSetAvailable") {
    return verdict(view, Rollout::complete, "the Deployment's revision was rolled out");
  }
  if (!progress.empty()) {
    return verdict(view, Rollout::in_progress, "the Deployment is being rolled out (" + progress + ")");
  }
  // Without a progress deadline there is no such condition.
  const auto updated = countOf(deployment, "updatedReplicas");
  if (updated > 0 && updated == countOf(deployment, "replicas")) {
    return verdict(view, Rollout::complete, "no pod of another revision is left");
  }
  return verdict(view, Rollout::in_progress, "pods of another revision are left");
}

RolloutView ofReplicaSet(const Owners& owners) {
  const auto above = controllerOf(*owners.controller);
  if (!above) {
    RolloutView view;
    view.wanted = replicasOf(*owners.controller);
    view.ready = countOf(*owners.controller, "readyReplicas");
    view.anyReady = view.ready > 0;
    view.otherRevisionReady = false;
    return verdict(view, Rollout::complete, "a ReplicaSet without a Deployment has one revision");
  }
  if (above->kind != "Deployment" || !above->apiVersion.starts_with("apps/")) {
    return verdict({}, Rollout::unknown, "rollouts of a " + above->kind + " are not known");
  }
  if (!isThatOne(owners.deployment, *above)) {
    return verdict({}, Rollout::unknown, "the Deployment " + above->name + " is not known");
  }
  return ofDeployment(*owners.deployment, *owners.controller);
}

/// Its ordinal, from 0; a partition compares with it.
std::optional<std::int64_t> indexOf(const PodObject& pod, const json::object& set) {
  const auto dash = pod.name.rfind('-');
  auto ordinal = asNumber(labelOf(pod, kPodIndex));
  if (!ordinal && dash != std::string::npos) ordinal = asNumber(pod.name.substr(dash + 1));
  if (!ordinal) return std::nullopt;
  return *ordinal - field::number(field::objectAt(set, {"spec", "ordinals"}), "start").value_or(0);
}

RolloutView ofStatefulSet(const PodObject& pod, const json::object& set) {
  const auto* const status = field::object(set, "status");
  const auto current = status == nullptr ? std::string() : field::text(*status, "currentRevision");
  const auto update = status == nullptr ? std::string() : field::text(*status, "updateRevision");
  const auto ours = labelOf(pod, kRevisionHash);
  const auto ready = countOf(set, "readyReplicas");
  RolloutView view;
  view.anyReady = ready > 0;
  view.wanted = replicasOf(set);
  view.ready = ready;
  if (ready == 0 || (isObserved(set) && current == update && ours == current)) {
    view.otherRevisionReady = false;
  } else if (ours == update && ready > countOf(set, "updatedReplicas")) {
    view.otherRevisionReady = true;
  }
  if (updatesOnDelete(set))
    return verdict(view, Rollout::complete, "pods are replaced when they are deleted");
  if (current.empty() || update.empty() || ours.empty()) {
    return verdict(view, Rollout::unknown, "the StatefulSet or the pod does not name its revision");
  }
  if (ours == current)
    return verdict(view, Rollout::complete, "the pod has the StatefulSet's current revision");
  const auto partition =
      field::number(field::objectAt(set, {"spec", "updateStrategy", "rollingUpdate"}), "partition")
          .value_or(0);
  const auto index = indexOf(pod, set);
  if (index && *index < partition) {
    return verdict(view, Rollout::complete, "the pod's ordinal is below the partition");
  }
  if (ours == update || !isObserved(set)) {
    return verdict(view, Rollout::in_progress, "the StatefulSet is being rolled out");
  }
  return verdict(view, Rollout::complete, "the pod is of an older revision");
}

RolloutView ofDaemonSet(const PodObject& pod, const json::object& set) {
  const auto ready = countOf(set, "numberReady");
  const auto updated = countOf(set, "updatedNumberScheduled");
  const bool allUpdated = isObserved(set) && updated >= countOf(set, "desiredNumberScheduled");
  RolloutView view;
  view.anyReady = ready > 0;
  view.wanted = countOf(set, "desiredNumberScheduled");
  view.ready = ready;
  if (updatesOnDelete(set))
    return verdict(view, Rollout::complete, "pods are replaced when they are deleted");
  const auto latest = annotatedNumber(set, kTemplateGenerationOfSet);
  const auto ours = asNumber(labelOf(pod, kTemplateGeneration));
  if (!latest || !ours) {
    return verdict(view, Rollout::unknown, "the DaemonSet or the pod does not number its templates");
  }
  if (*ours < *latest) return verdict(view, Rollout::complete, "the pod is of an older revision");
  if (ready == 0 || allUpdated) {
    view.otherRevisionReady = false;
  } else if (ready > updated) {
    view.otherRevisionReady = true;
  }
  if (*ours == *latest && allUpdated) {
    return verdict(view, Rollout::complete, "no pod of another revision is left");
  }
  return verdict(view, Rollout::in_progress, "the DaemonSet is being rolled out");
}

}  // namespace

std::string_view toString(Rollout rollout) {
  switch (rollout) {
    case Rollout::complete:
      return "complete";
    case Rollout::in_progress:
      return "in-progress";
    case Rollout::unknown:
      return "unknown";
  }
  return "unknown";
}

RolloutView rolloutOf(const PodObject& pod, const Owners& owners) {
  if (!pod.owner || pod.owner->kind == "Node") {
    RolloutView view;
    view.otherRevisionReady = false;
    return verdict(view, Rollout::complete, "no controller replaces the pod with another revision");
  }
  const auto& kind = pod.owner->kind;
  const bool known = kind == "ReplicaSet" || kind == "StatefulSet" || kind == "DaemonSet";
  if (!known || !pod.owner->apiVersion.starts_with("apps/")) {
    return verdict({}, Rollout::unknown, "rollouts of a " + kind + " are not known");
  }
  if (!isThatOne(owners.controller, *pod.owner)) {
    return verdict({}, Rollout::unknown, "the " + kind + " " + pod.owner->name + " is not known");
  }
  if (kind == "ReplicaSet") return ofReplicaSet(owners);
  if (kind == "StatefulSet") return ofStatefulSet(pod, *owners.controller);
  return ofDaemonSet(pod, *owners.controller);
}

}  // namespace fallbackd::kube
