// SPDX-License-Identifier: Apache-2.0
#include "kube/pod_object.hpp"

#include "kube/json_fields.hpp"
#include "kube/listing.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::kube {

namespace {

namespace json = boost::json;

constexpr const char* kMirrorAnnotation = "kubernetes.io/config.mirror";

tl::unexpected<Error> notOfKind(const char* what) {
  return fail(Stage::kube, Reason::invalid, std::string("what was received is not ") + what);
}

std::size_t hashOfLasting(const json::object& pod) {
  json::object lasting(pod);
  lasting.erase("status");
  auto& metadata = lasting.at("metadata").as_object();
  metadata.erase("resourceVersion");
  // kubelet's own: when and where it learned of the pod. The API does not have them.
  if (auto* const annotations = metadata.if_contains("annotations");
      annotations != nullptr && annotations->is_object()) {
    annotations->get_object().erase("kubernetes.io/config.seen");
    annotations->get_object().erase("kubernetes.io/config.source");
  }
  return std::hash<std::string>()(json::serialize(lasting));
}

void readStatus(const json::object& pod, PodObject& made) {
  const auto* const status = field::object(pod, "status");
  if (status == nullptr) return;
  if (const auto* const conditions = field::array(*status, "conditions")) {
    for (const auto& item : *conditions) {
      const auto* const one = item.if_object();
      if (one == nullptr || field::text(*one, "type") != "Ready") continue;
      made.ready = field::text(*one, "status") == "True";
    }
  }
  if (const auto* const containers = field::array(*status, "containerStatuses")) {
    for (const auto& item : *containers) {
      const auto* const one = item.if_object();
      if (one == nullptr) continue;
      auto id = field::text(*one, "containerID");
      const auto scheme = id.find("://");
      if (scheme != std::string::npos) id.erase(0, scheme + 3);
      if (!id.empty()) made.containerIds[field::text(*one, "name")] = std::move(id);
    }
  }
}

}  // namespace

std::optional<Owner> controllerOf(const json::object& object) {
  const auto* const metadata = field::object(object, "metadata");
  const auto* const list = metadata == nullptr ? nullptr : field::array(*metadata, "ownerReferences");
  if (list == nullptr) return std::nullopt;
  for (const auto& item : *list) {
    const auto* const reference = item.if_object();
    if (reference == nullptr || !field::isTrue(*reference, "controller")) continue;
    return Owner{field::text(*reference, "apiVersion"), field::text(*reference, "kind"),
                 field::text(*reference, "name"), field::text(*reference, "uid")};
  }
  return std::nullopt;
}

PodPtr withoutText(const PodObject& pod) {
  auto made = std::make_shared<PodObject>();
  made->uid = pod.uid;
  made->isMirror = pod.isMirror;
  made->namespaceName = pod.namespaceName;
  made->name = pod.name;
  made->resourceVersion = pod.resourceVersion;
  made->owner = pod.owner;
  made->labels = pod.labels;
  made->annotations = pod.annotations;
  made->ready = pod.ready;
  made->deleting = pod.deleting;
  made->containerIds = pod.containerIds;
  made->lastingHash = pod.lastingHash;
  return made;
}

void dropLongestTexts(std::vector<PodPtr>& pods, std::size_t bytes) {
  std::size_t together = 0;
  for (const auto& pod : pods) together += pod->json.size();
  while (together > bytes) {
    auto& longest = *std::max_element(pods.begin(), pods.end(), [](const auto& left, const auto& right) {
      return left->json.size() < right->json.size();
    });
    together -= longest->json.size();
    longest = withoutText(*longest);
  }
}

Result<PodPtr> podObjectOf(json::value object) {
  auto* const pod = object.if_object();
  if (pod == nullptr) return notOfKind("a pod: it is not an object");
  auto* const found = pod->if_contains("metadata");
  auto* const metadata = found == nullptr ? nullptr : found->if_object();
  if (metadata == nullptr || field::object(*pod, "spec") == nullptr) {
    return notOfKind("a pod: it has no metadata or no spec");
  }
  metadata->erase("managedFields");
  auto made = std::make_shared<PodObject>();
  made->namespaceName = field::text(*metadata, "namespace");
  made->name = field::text(*metadata, "name");
  made->resourceVersion = field::text(*metadata, "resourceVersion");
  made->owner = controllerOf(*pod);
  made->labels = field::texts(*metadata, "labels");
  made->annotations = field::texts(*metadata, "annotations");
  const auto mirrored = made->annotations.find(kMirrorAnnotation);
  made->isMirror = mirrored != made->annotations.end();
  made->uid = made->isMirror ? mirrored->second : field::text(*metadata, "uid");
  if (made->uid.empty() || made->name.empty() || made->namespaceName.empty()) {
    return notOfKind("a pod: uid, name or namespace is missing");
  }
  made->deleting = !field::text(*metadata, "deletionTimestamp").empty();
  readStatus(*pod, *made);
  made->lastingHash = hashOfLasting(*pod);
  made->json = json::serialize(*pod);
  return made;
}

Result<PodPtr> parsePodObject(const std::string& json) {
  FB_TRY(auto value, parsedJson(json));
  return podObjectOf(std::move(value));
}

Result<PodPage> parsePodList(const std::string& json) {
  FB_TRY(auto list, parseList(json, "PodList"));
  PodPage page;
  for (auto& item : list.items) {
    auto pod = podObjectOf(std::move(item));
    if (pod) {
      page.pods.push_back(std::move(*pod));
    } else {
      ++page.bad;
    }
  }
  return page;
}

}  // namespace fallbackd::kube
