// SPDX-License-Identifier: Apache-2.0
#include "coverage/templates.hpp"

#include "base/strings.hpp"
#include "kube/json_fields.hpp"
#include "watcher/match.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::coverage {

namespace {

namespace json = boost::json;
namespace field = kube::field;

/// Labels that differ between the revisions or the pods of one object.
bool isOfRevision(std::string_view key) {
  constexpr std::array<std::string_view, 7> kKeys{"pod-template-hash",
                                                  "controller-revision-hash",
                                                  "pod-template-generation",
                                                  "statefulset.kubernetes.io/pod-name",
                                                  "apps.kubernetes.io/pod-index",
                                                  "rollouts-pod-template-hash",
                                                  "batch.kubernetes.io/job-completion-index"};
  const auto ofJobs = watcher::jobLabels();
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end() ||
         std::find(ofJobs.begin(), ofJobs.end(), key) != ofJobs.end();
}

std::map<std::string, std::string> lasting(std::map<std::string, std::string> labels) {
  std::erase_if(labels, [](const auto& one) { return isOfRevision(one.first); });
  return labels;
}

/// "KIND NAMESPACE/NAME" of the object's controller; empty if it has none.
std::string controllerOf(const json::object& metadata) {
  const auto* const owners = field::array(metadata, "ownerReferences");
  if (owners == nullptr) return {};
  for (const auto& one : *owners) {
    const auto* const owner = one.if_object();
    if (owner == nullptr || !field::isTrue(*owner, "controller")) continue;
    return field::text(*owner, "kind") + " " + field::text(metadata, "namespace") + "/" +
           field::text(*owner, "name");
  }
  return {};
}

const json::object& metadataOf(const json::object& object) {
  static const json::object kNone;
  const auto* const metadata = field::object(object, "metadata");
  return metadata == nullptr ? kNone : *metadata;
}

/// The object with the pod's metadata and spec: the template, or the pod itself. Null: it creates no pods.
const json::object* podPartOf(const json::object& object, const std::string& kind) {
  const json::object* part = &object;
  if (kind == "CronJob") {
    part = field::objectAt(object, {"spec", "jobTemplate", "spec", "template"});
  } else if (kind == "PodTemplate") {
    part = field::object(object, "template");
  } else if (kind != "Pod") {
    part = field::objectAt(object, {"spec", "template"});
  }
  const auto* const spec = part == nullptr ? nullptr : field::object(*part, "spec");
  return spec == nullptr || field::array(*spec, "containers") == nullptr ? nullptr : part;
}

/// The claims of a StatefulSet are volumes of its pods.
void addClaims(const json::object& object, const std::string& name, json::object& spec) {
  const auto* const templates = field::objectAt(object, {"spec"}) == nullptr
                                    ? nullptr
                                    : field::array(*field::object(object, "spec"), "volumeClaimTemplates");
  if (templates == nullptr) return;
  auto& volumes = spec["volumes"];
  if (!volumes.is_array()) volumes = json::array();
  for (const auto& one : *templates) {
    if (!one.is_object()) continue;
    const auto volume = field::text(metadataOf(one.get_object()), "name");
    volumes.get_array().push_back(
        json::object{{"name", volume},
                     {"persistentVolumeClaim", json::object{{"claimName", volume + "-" + name + "-0"}}}});
  }
}

json::object podOf(const json::object& object, const json::object& part, const Template& out,
                   const std::string& namespaceName) {
  json::object metadata = metadataOf(part);
  if (out.kind != "Pod") {
    metadata["name"] = out.name;
    metadata["ownerReferences"] = json::array{
        json::object{{"controller", true}, {"kind", out.ofJob ? "Job" : out.kind}, {"name", out.name}}};
  }
  metadata["name"] = out.name;
  metadata["namespace"] = namespaceName;
  if (out.ofJob) {
    auto& labels = metadata["labels"];
    if (!labels.is_object()) labels = json::object();
    labels.get_object()[watcher::jobLabels().front()] = out.name;
  }
  json::object pod{{"metadata", std::move(metadata)}, {"spec", part.at("spec")}};
  if (out.kind == "StatefulSet") addClaims(object, out.name, pod["spec"].get_object());
  if (const auto* const status = field::object(object, "status"); status != nullptr && out.kind == "Pod")
    pod["status"] = *status;
  return pod;
}

std::map<std::string, std::string> matchLabelsOf(const json::object& object, const json::object& part) {
  auto labels = std::map<std::string, std::string>();
  if (const auto* const selector = field::objectAt(object, {"spec", "selector"})) {
    const auto* const nested = field::object(*selector, "matchLabels");
    labels =
        nested == nullptr ? std::map<std::string, std::string>() : field::texts(*selector, "matchLabels");
    // A ReplicationController's selector is the labels themselves.
    if (nested == nullptr && !selector->contains("matchExpressions"))
      labels = field::texts(*field::object(object, "spec"), "selector");
  }
  labels = lasting(std::move(labels));
  return labels.empty() ? lasting(field::texts(metadataOf(part), "labels")) : labels;
}

void readOne(const Manifest& manifest, const json::object& part, const std::string& namespaceName,
             std::vector<Template>& all, config::Problems& problems) {
  const auto& object = manifest.object;
  Template out;
  out.kind = field::text(object, "kind");
  out.where = manifest.where;
  const auto& metadata = metadataOf(object);
  out.name = field::text(metadata, "name");
  // An object with a generated name has none before it is created.
  if (out.name.empty()) out.name = field::text(metadata, "generateName");
  while (out.name.ends_with('-')) out.name.pop_back();
  out.namespaceName = field::text(metadata, "namespace");
  out.ofJob = out.kind == "Job" || out.kind == "CronJob";
  const auto what = out.kind + " " + quoted(out.name);
  if (out.name.empty()) return problems.add(out.where, out.kind + " has no name", "write metadata.name");
  auto pod =
      kube::readPod(podOf(object, part, out, out.namespaceName.empty() ? namespaceName : out.namespaceName));
  if (!pod) return problems.add(out.where, what + ": " + pod.error().context);
  out.pod = std::move(*pod);
  out.matchLabels = matchLabelsOf(object, part);
  const auto& spec = part.at("spec").get_object();
  const auto* const mount = field::at(spec, "automountServiceAccountToken");
  out.refusesToken = mount != nullptr && mount->is_bool() && !mount->get_bool();
  out.asksForToken =
      !out.refusesToken && (field::isTrue(spec, "automountServiceAccountToken") ||
                            (!out.pod.serviceAccountName.empty() && out.pod.serviceAccountName != "default"));
  all.push_back(std::move(out));
}

}  // namespace

Templates templatesOf(const std::vector<Manifest>& manifests, const std::string& namespaceName,
                      config::Problems& problems) {
  std::set<std::string> names;
  for (const auto& one : manifests) {
    const auto& metadata = metadataOf(one.object);
    names.insert(field::text(one.object, "kind") + " " + field::text(metadata, "namespace") + "/" +
                 field::text(metadata, "name"));
  }
  Templates out;
  for (const auto& one : manifests) {
    const auto kind = field::text(one.object, "kind");
    if (kind.empty()) {
      problems.add(one.where, "is not a Kubernetes object", "an object has apiVersion, kind and metadata");
      continue;
    }
    const auto* const part = podPartOf(one.object, kind);
    if (part == nullptr) {
      out.others.push_back(kind);
    } else if (const auto owner = controllerOf(metadataOf(one.object)); names.contains(owner)) {
      ++out.owned;
    } else {
      readOne(one, *part, namespaceName, out.all, problems);
    }
  }
  return out;
}

}  // namespace fallbackd::coverage
