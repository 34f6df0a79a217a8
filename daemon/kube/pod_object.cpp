// SPDX-License-Identifier: Apache-2.0
#include "kube/pod_object.hpp"

#include "base/strings.hpp"
#include "kube/json_fields.hpp"

#include <functional>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::kube {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxMessage = 300;
constexpr const char* kMirrorAnnotation = "kubernetes.io/config.mirror";

tl::unexpected<Error> notOfKind(const char* what) {
  return fail(Stage::kube, Reason::invalid, std::string("what was received is not ") + what);
}

Result<json::value> parsedJson(const std::string& text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::error_code error;
  auto value = json::parse(text, error, {}, options);
  if (error) return fail(Stage::kube, Reason::protocol, "JSON: " + error.message());
  return value;
}

std::size_t hashOfLasting(const json::object& pod) {
  json::object lasting(pod);
  lasting.erase("status");
  auto& metadata = lasting.at("metadata").as_object();
  metadata.erase("resourceVersion");
  // kubelet's own: when and where it heard of the pod. The API does not have them.
  if (auto* const annotations = metadata.if_contains("annotations");
      annotations != nullptr && annotations->is_object()) {
    annotations->get_object().erase("kubernetes.io/config.seen");
    annotations->get_object().erase("kubernetes.io/config.source");
  }
  return std::hash<std::string>()(json::serialize(lasting));
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
  made->lastingHash = hashOfLasting(*pod);
  made->json = json::serialize(*pod);
  return made;
}

Result<PodPtr> parsePodObject(const std::string& json) {
  FB_TRY(auto value, parsedJson(json));
  return podObjectOf(std::move(value));
}

Result<PodPage> parsePodList(const std::string& json) {
  FB_TRY(auto value, parsedJson(json));
  auto* const list = value.if_object();
  if (list == nullptr || field::text(*list, "kind") != "PodList") return notOfKind("a PodList");
  PodPage page;
  if (const auto* const metadata = field::object(*list, "metadata")) {
    page.resourceVersion = field::text(*metadata, "resourceVersion");
    page.more = field::text(*metadata, "continue");
  }
  auto* const items = list->if_contains("items");
  // Go writes an empty list as null.
  if (items == nullptr || items->is_null()) return page;
  if (!items->is_array()) return notOfKind("a PodList: its items are not a list");
  for (auto& item : items->get_array()) {
    auto pod = podObjectOf(std::move(item));
    if (pod) {
      page.pods.push_back(std::move(*pod));
    } else {
      ++page.bad;
    }
  }
  return page;
}

Result<WatchEvent> parseWatchEvent(const std::string& line) {
  FB_TRY(auto value, parsedJson(line));
  auto* const event = value.if_object();
  auto* const object = event == nullptr ? nullptr : event->if_contains("object");
  if (object == nullptr || !object->is_object()) return notOfKind("an event of a watch");
  const auto type = field::text(*event, "type");
  WatchEvent made;
  if (type == "ERROR") {
    const auto& status = object->get_object();
    const auto* const code = status.if_contains("code");
    if (code != nullptr && code->is_int64()) made.code = static_cast<unsigned>(code->get_int64());
    made.message = quoted(field::text(status, "message"), kMaxMessage);
    return made;
  }
  if (const auto* const metadata = field::object(object->get_object(), "metadata")) {
    made.resourceVersion = field::text(*metadata, "resourceVersion");
  }
  if (made.resourceVersion.empty()) return notOfKind("an event of a watch: it has no resourceVersion");
  if (type == "BOOKMARK") {
    made.kind = WatchEvent::Kind::bookmark;
    return made;
  }
  if (type == "DELETED") {
    made.kind = WatchEvent::Kind::gone;
  } else if (type == "ADDED" || type == "MODIFIED") {
    made.kind = WatchEvent::Kind::changed;
  } else {
    return notOfKind("an event of a watch: its type is not known");
  }
  FB_TRY(made.pod, podObjectOf(std::move(*object)));
  return made;
}

std::string messageOf(const std::string& body) {
  const auto value = parsedJson(body);
  if (value && value->is_object()) {
    const auto message = field::text(value->get_object(), "message");
    if (!message.empty()) return quoted(message, kMaxMessage);
  }
  return quoted(trim(body), kMaxMessage);
}

}  // namespace fallbackd::kube
