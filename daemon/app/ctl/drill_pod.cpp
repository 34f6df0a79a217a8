// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/drill.hpp"
#include "base/strings.hpp"
#include "config/drill.hpp"
#include "domain/image_reference.hpp"
#include "kube/json_fields.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;
namespace field = kube::field;

/// The object that has `metadata` and `spec` of its pods; null if it makes none.
const json::object* templateOf(const json::object& object) {
  if (field::text(object, "kind") == "Pod") return &object;
  if (const auto* const job = field::objectAt(object, {"spec", "jobTemplate", "spec", "template"}))
    return job;
  return field::objectAt(object, {"spec", "template"});
}

json::array& arrayIn(json::object& spec, const char* key) {
  auto& value = spec[key];
  if (!value.is_array()) value = json::array();
  return value.as_array();
}

/// Removes what the API server or a controller wrote into it, what would keep it from this node, what two
/// pods of a node cannot share, and what runs before its containers.
void strip(json::object& spec, DrillPod& pod) {
  for (const auto* key :
       {"affinity", "ephemeralContainers", "hostname", "nodeSelector", "preemptionPolicy", "priority",
        "schedulingGates", "setHostnameAsFQDN", "subdomain", "topologySpreadConstraints"}) {
    spec.erase(key);
  }
  for (const auto& item : std::exchange(arrayIn(spec, "initContainers"), json::array())) {
    if (item.is_object())
      pod.notes.push_back("its init container " + fallbackd::quoted(field::text(item.as_object(), "name")) +
                          " is left out: it would do its work a second time");
  }
  spec.erase("initContainers");
  for (auto& item : arrayIn(spec, "containers")) {
    auto* const container = item.if_object();
    if (container == nullptr) continue;
    if (const auto name = field::text(*container, "name"); name != pod.container)
      pod.notes.push_back("its container " + fallbackd::quoted(name) + " runs as in the real pods");
    if (container->erase("volumeDevices") > 0) pod.notes.emplace_back("it has no block device");
    if (!container->contains("ports")) continue;
    for (auto& port : arrayIn(*container, "ports")) {
      if (auto* const one = port.if_object(); one != nullptr && one->erase("hostPort") > 0)
        pod.notes.emplace_back("it has no host port");
    }
  }
}

/// Whether a container may write to it. A read-only mount of a socket does not prevent talking to what
/// listens there.
bool isWritable(json::object& spec, const std::string& volume, const json::object& hostPath) {
  if (field::text(hostPath, "type") == "Socket") return true;
  for (auto& item : arrayIn(spec, "containers")) {
    auto* const container = item.if_object();
    if (container == nullptr || !container->contains("volumeMounts")) continue;
    for (const auto& mount : arrayIn(*container, "volumeMounts")) {
      const auto* const one = mount.if_object();
      if (one != nullptr && field::text(*one, "name") == volume && !field::isTrue(*one, "readOnly"))
        return true;
    }
  }
  return false;
}

/// Whether the volume is the pod's own, or one that it can only read.
bool isHarmless(json::object& spec, const json::object& volume) {
  for (const auto* own :
       {"configMap", "downwardAPI", "emptyDir", "ephemeral", "gitRepo", "image", "projected", "secret"}) {
    if (volume.contains(own)) return true;
  }
  if (const auto* const csi = field::objectAt(volume, {"csi"})) return field::isTrue(*csi, "readOnly");
  const auto* const path = field::objectAt(volume, {"hostPath"});
  return path != nullptr && !isWritable(spec, field::text(volume, "name"), *path);
}

/// A rehearsal must not write what the real pods write.
void emptyVolumes(json::object& spec, DrillPod& pod) {
  auto volumes = arrayIn(spec, "volumes");
  for (auto& item : volumes) {
    auto* const volume = item.if_object();
    if (volume == nullptr || isHarmless(spec, *volume)) continue;
    const auto name = field::text(*volume, "name");
    *volume = {{"name", name}, {"emptyDir", json::object()}};
    pod.notes.push_back("its volume " + fallbackd::quoted(name) +
                        " is empty: that of the real pods could be written");
  }
  spec["volumes"] = std::move(volumes);
}

/// In the node's namespaces it would take the ports of the real pods, or reach the node's processes.
Result<> refuseNodeNamespaces(const json::object& object, const json::object& spec) {
  const auto* const metadata = field::objectAt(object, {"metadata"});
  for (const auto* key : {"hostNetwork", "hostPID", "hostIPC"}) {
    if (!field::isTrue(spec, key)) continue;
    return fail(Stage::cli, Reason::not_permitted,
                field::text(object, "kind") + " " +
                    fallbackd::quoted(metadata == nullptr ? std::string() : field::text(*metadata, "name")) +
                    " has " + key +
                    ": true: a drill's pod would share the node's namespace with the real pods. Rehearse "
                    "another workload, or remove that line from the manifest before it comes here");
  }
  return {};
}

/// A StatefulSet's claims are made for its own pods.
void replaceClaims(const json::object& object, json::object& spec, DrillPod& pod) {
  const auto* const set = field::objectAt(object, {"spec"});
  const auto* const claims = set == nullptr ? nullptr : set->if_contains("volumeClaimTemplates");
  if (claims == nullptr || !claims->is_array()) return;
  for (const auto& item : claims->as_array()) {
    const auto* const metadata = item.is_object() ? field::objectAt(item.as_object(), {"metadata"}) : nullptr;
    if (metadata == nullptr) continue;
    const auto name = field::text(*metadata, "name");
    arrayIn(spec, "volumes").push_back(json::object{{"name", name}, {"emptyDir", json::object()}});
    pod.notes.push_back("its volume " + fallbackd::quoted(name) + " is empty");
  }
}

/// fallbackd's own, and those that confine its containers. Others may give the pod an address or a network of
/// the real pods, or inject something into it.
json::object annotationsOf(const json::object& from) {
  json::object kept;
  const auto* const all = field::objectAt(from, {"metadata", "annotations"});
  if (all == nullptr) return kept;
  for (const auto& one : *all) {
    const std::string_view key = one.key();
    const bool ours = key.starts_with("fallbackd.io/") && !key.starts_with("fallbackd.io/image.");
    if (ours || key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
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
    if (options.container.empty() ? containers.size() == 1 : field::text(*one, "name") == options.container)
      chosen = one;
  }
  if (chosen == nullptr) {
    return fail(Stage::cli, Reason::invalid,
                options.container.empty()
                    ? "the pod has several containers: --container names the workload's"
                    : "the pod has no container " + fallbackd::quoted(options.container));
  }
  pod.container = field::text(*chosen, "name");
  pod.image = field::text(*chosen, "image");
  FB_TRY(const auto image, ImageReference::parse(pod.image));
  (*chosen)["image"] = config::drillImage(image);
  return {};
}

}  // namespace

Result<DrillPod> makeDrillPod(const std::vector<coverage::Manifest>& manifests,
                              const DrillPodOptions& options) {
  const auto makesPods = [](const coverage::Manifest& one) {
    const auto* const from = templateOf(one.object);
    return from != nullptr && field::objectAt(*from, {"spec"}) != nullptr;
  };
  const auto found = std::find_if(manifests.begin(), manifests.end(), makesPods);
  if (found == manifests.end()) {
    return fail(
        Stage::cli, Reason::invalid,
        "the input has no pod template; give it a Pod, or a Deployment, StatefulSet, DaemonSet or Job");
  }
  const auto& from = *templateOf(found->object);
  DrillPod pod;
  auto spec = *field::objectAt(from, {"spec"});
  FB_CHECK(refuseNodeNamespaces(found->object, spec));
  FB_CHECK(replaceImage(spec, options, pod));
  strip(spec, pod);
  emptyVolumes(spec, pod);
  replaceClaims(found->object, spec, pod);
  if (arrayIn(spec, "volumes").empty()) spec.erase("volumes");
  spec["nodeName"] = options.node;
  spec["activeDeadlineSeconds"] = options.length.count();
  const auto* const metadata = field::objectAt(found->object, {"metadata"});
  pod.namespaceName = options.namespaceName;
  if (pod.namespaceName.empty() && metadata != nullptr)
    pod.namespaceName = field::text(*metadata, "namespace");
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
