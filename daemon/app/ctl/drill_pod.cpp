// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/drill.hpp"
#include "base/strings.hpp"
#include "config/drill.hpp"
#include "domain/image_reference.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

/// Null where one of the names leads to no object.
const json::object* within(const json::object& from, std::initializer_list<const char*> path) {
  const auto* object = &from;
  for (const auto* name : path) {
    const auto* const next = object->if_contains(name);
    object = next == nullptr ? nullptr : next->if_object();
    if (object == nullptr) return nullptr;
  }
  return object;
}

std::string textOf(const json::object& object, const char* key) {
  const auto* const value = object.if_contains(key);
  const auto* const text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

/// The object that has `metadata` and `spec` of its pods; null if it makes none.
const json::object* templateOf(const json::object& object) {
  if (textOf(object, "kind") == "Pod") return &object;
  if (const auto* const job = within(object, {"spec", "jobTemplate", "spec", "template"})) return job;
  return within(object, {"spec", "template"});
}

json::array& arrayIn(json::object& spec, const char* key) {
  auto& value = spec[key];
  if (!value.is_array()) value = json::array();
  return value.as_array();
}

/// What the API server or a controller wrote into it, what would keep it from this node, and what two pods of
/// a node cannot share.
void strip(json::object& spec, DrillPod& pod) {
  for (const auto* key :
       {"affinity", "ephemeralContainers", "hostname", "nodeSelector", "preemptionPolicy", "priority",
        "schedulingGates", "setHostnameAsFQDN", "subdomain", "topologySpreadConstraints"}) {
    spec.erase(key);
  }
  const auto* const network = spec.if_contains("hostNetwork");
  if (network != nullptr && network->is_bool() && network->as_bool())
    pod.notes.emplace_back(
        "hostNetwork: its ports are the node's, which another pod of the workload may use");
  for (const auto* list : {"initContainers", "containers"}) {
    for (auto& item : arrayIn(spec, list)) {
      auto* const container = item.if_object();
      if (container == nullptr || !container->contains("ports")) continue;
      for (auto& port : arrayIn(*container, "ports")) {
        if (auto* const one = port.if_object(); one != nullptr && one->erase("hostPort") > 0)
          pod.notes.emplace_back("it has no host port");
      }
    }
  }
  if (arrayIn(spec, "initContainers").empty()) spec.erase("initContainers");
  for (const auto& item : arrayIn(spec, "volumes")) {
    const auto* const volume = item.if_object();
    const auto* const claim = volume == nullptr ? nullptr : within(*volume, {"persistentVolumeClaim"});
    if (claim != nullptr)
      pod.notes.push_back("it uses the claim " + fallbackd::quoted(textOf(*claim, "claimName")) +
                          " of the real pods: remove that volume if it must not be shared");
  }
}

/// A StatefulSet's claims are made for its own pods.
void replaceClaims(const json::object& object, json::object& spec, DrillPod& pod) {
  const auto* const set = within(object, {"spec"});
  const auto* const claims = set == nullptr ? nullptr : set->if_contains("volumeClaimTemplates");
  if (claims == nullptr || !claims->is_array()) return;
  for (const auto& item : claims->as_array()) {
    const auto* const metadata = item.is_object() ? within(item.as_object(), {"metadata"}) : nullptr;
    if (metadata == nullptr) continue;
    const auto name = textOf(*metadata, "name");
    arrayIn(spec, "volumes").push_back(json::object{{"name", name}, {"emptyDir", json::object()}});
    pod.notes.push_back("its volume " + fallbackd::quoted(name) + " is empty");
  }
}

json::object annotationsOf(const json::object& from) {
  json::object kept;
  const auto* const all = within(from, {"metadata", "annotations"});
  if (all == nullptr) return kept;
  for (const auto& one : *all) {
    const std::string_view key = one.key();
    if (key.starts_with("kubectl.kubernetes.io/") || key.starts_with("fallbackd.io/image.")) continue;
    kept[one.key()] = one.value();
  }
  return kept;
}

/// The container that is rehearsed, with its image replaced.
Result<> replaceImage(json::object& spec, const DrillPodOptions& options, DrillPod& pod) {
  auto& containers = arrayIn(spec, "containers");
  json::object* chosen = nullptr;
  for (auto& item : containers) {
    auto* const one = item.if_object();
    if (one == nullptr) continue;
    if (options.container.empty() ? containers.size() == 1 : textOf(*one, "name") == options.container)
      chosen = one;
  }
  if (chosen == nullptr) {
    return fail(Stage::cli, Reason::invalid,
                options.container.empty()
                    ? "the pod has several containers: --container names the workload's"
                    : "the pod has no container " + fallbackd::quoted(options.container));
  }
  pod.container = textOf(*chosen, "name");
  pod.image = textOf(*chosen, "image");
  FB_TRY(const auto image, ImageReference::parse(pod.image));
  (*chosen)["image"] = config::drillImage(image);
  return {};
}

}  // namespace

Result<DrillPod> makeDrillPod(const std::vector<coverage::Manifest>& manifests,
                              const DrillPodOptions& options) {
  const auto makesPods = [](const coverage::Manifest& one) {
    const auto* const from = templateOf(one.object);
    return from != nullptr && within(*from, {"spec"}) != nullptr;
  };
  const auto found = std::find_if(manifests.begin(), manifests.end(), makesPods);
  if (found == manifests.end()) {
    return fail(
        Stage::cli, Reason::invalid,
        "the input has no pod template; give it a Pod, or a Deployment, StatefulSet, DaemonSet or Job");
  }
  const auto& from = *templateOf(found->object);
  DrillPod pod;
  auto spec = *within(from, {"spec"});
  FB_CHECK(replaceImage(spec, options, pod));
  strip(spec, pod);
  replaceClaims(found->object, spec, pod);
  if (arrayIn(spec, "volumes").empty()) spec.erase("volumes");
  spec["nodeName"] = options.node;
  spec["activeDeadlineSeconds"] = options.length.count();
  const auto* const metadata = within(found->object, {"metadata"});
  pod.namespaceName = options.namespaceName;
  if (pod.namespaceName.empty() && metadata != nullptr) pod.namespaceName = textOf(*metadata, "namespace");
  if (pod.namespaceName.empty()) pod.namespaceName = "default";
  json::object named{{"name", options.pod},
                     {"namespace", pod.namespaceName},
                     {"labels", json::object{{config::kDrillLabel, options.pod}}}};
  if (auto annotations = annotationsOf(from); !annotations.empty())
    named["annotations"] = std::move(annotations);
  pod.object = {
      {"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", std::move(named)}, {"spec", std::move(spec)}};
  return pod;
}

}  // namespace fallbackd::ctl
