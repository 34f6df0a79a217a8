// SPDX-License-Identifier: Apache-2.0
#include "kube/event_store.hpp"

#include "base/clock.hpp"

#include <algorithm>
#include <regex>

namespace fallbackd::kube_test {

namespace json = boost::json;

namespace {

const std::regex& pathForm() {
  static const std::regex form("/api/v1/namespaces/([^/]+)/events(?:/([^/]+))?");
  return form;
}

std::string textAt(const json::object& object, const char* key) {
  const auto* const found = object.if_contains(key);
  const auto* const text = found == nullptr ? nullptr : found->if_string();
  return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

std::string unknownKey(const json::object& object, const std::set<std::string>& known) {
  for (const auto& [key, value] : object) {
    if (!known.contains(key)) return key;
  }
  return {};
}

bool isDnsName(const std::string& name) {
  static const std::regex form("[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*");
  constexpr std::size_t kMaxName = 253;
  return name.size() <= kMaxName && std::regex_match(name, form);
}

/// RFC 3339 in UTC, to the second or with microseconds.
bool isTime(const std::string& text) {
  static const std::regex form("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{6})?Z");
  return std::regex_match(text, form) && parseRfc3339(text).has_value();
}

std::string wrongMessage(const std::string& message) {
  constexpr std::size_t kMaxMessage = 1024;
  if (message.empty()) return "message: required";
  if (message.size() > kMaxMessage) return "message: can have at most 1024 characters";
  const bool control = std::any_of(message.begin(), message.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
  return control ? "message: control characters" : "";
}

std::string wrongObject(const json::object& about, const std::string& namespaceName) {
  const auto key = unknownKey(about, {"kind", "apiVersion", "namespace", "name", "uid", "fieldPath"});
  if (!key.empty()) return "unknown field involvedObject." + key;
  if (textAt(about, "namespace") != namespaceName)
    return "involvedObject.namespace: does not match event.namespace";
  if (textAt(about, "kind") != "Pod" || textAt(about, "apiVersion") != "v1")
    return "involvedObject is not a pod";
  if (!isDnsName(textAt(about, "name"))) return "involvedObject.name";
  if (textAt(about, "uid").empty()) return "involvedObject.uid: kubectl describe would not show it";
  static const std::regex form("spec\\.containers\\{[a-z0-9]([-a-z0-9]*[a-z0-9])?\\}");
  return std::regex_match(textAt(about, "fieldPath"), form) ? "" : "involvedObject.fieldPath";
}

std::string wrongEvent(const json::object& event, const std::string& namespaceName) {
  const auto key = unknownKey(
      event, {"kind", "apiVersion", "metadata", "involvedObject", "type", "reason", "message", "source",
              "reportingComponent", "reportingInstance", "firstTimestamp", "lastTimestamp", "count"});
  if (!key.empty()) return "unknown field " + key;
  if (textAt(event, "kind") != "Event" || textAt(event, "apiVersion") != "v1") return "not an Event of v1";
  for (const auto* part : {"metadata", "involvedObject", "source"}) {
    if (!event.contains(part) || !event.at(part).is_object()) return std::string(part) + ": required";
  }
  const auto& metadata = event.at("metadata").as_object();
  const auto more = unknownKey(metadata, {"name", "namespace"});
  if (!more.empty()) return "unknown field metadata." + more;
  if (!isDnsName(textAt(metadata, "name"))) return "metadata.name: not a DNS name";
  if (textAt(metadata, "namespace") != namespaceName) return "metadata.namespace: differs from the request's";
  auto wrong = wrongObject(event.at("involvedObject").as_object(), namespaceName);
  if (!wrong.empty()) return wrong;
  static const std::regex reason("[A-Z][A-Za-z]{0,127}");
  if (!std::regex_match(textAt(event, "reason"), reason)) return "reason";
  const auto type = textAt(event, "type");
  if (type != "Normal" && type != "Warning") return "type: has invalid value";
  wrong = wrongMessage(textAt(event, "message"));
  if (!wrong.empty()) return wrong;
  const auto& source = event.at("source").as_object();
  if (!unknownKey(source, {"component", "host"}).empty() || textAt(source, "component") != "fallbackd")
    return "source";
  constexpr std::size_t kMaxInstance = 128;
  const auto instance = textAt(event, "reportingInstance");
  if (instance.empty() || instance.size() > kMaxInstance) return "reportingInstance";
  if (textAt(event, "reportingComponent") != "fallbackd") return "reportingComponent";
  if (!isTime(textAt(event, "firstTimestamp")) || !isTime(textAt(event, "lastTimestamp")))
    return "timestamps";
  if (textAt(event, "firstTimestamp") > textAt(event, "lastTimestamp")) return "it ends before it began";
  const auto* const count = event.if_contains("count");
  return count != nullptr && count->is_int64() && count->get_int64() > 0 ? "" : "count";
}

EventStore::Reply invalid(const std::string& what) {
  return {422, "Event is invalid: " + what, "Invalid", {}, "event: " + what};
}

}  // namespace

bool EventStore::isEventsPath(const std::string& path) {
  return std::regex_match(path, pathForm());
}

bool EventStore::granted(const std::string& namespaceName, const std::string& verb) const {
  const auto own = grants_.find(namespaceName);
  return (own == grants_.end() ? grants_.at("*") : own->second).contains(verb);
}

EventStore::Reply EventStore::handle(const Seen& request) {
  std::smatch parts;
  if (!std::regex_match(request.path, parts, pathForm())) return {404, "not found", "NotFound"};
  const std::string namespaceName = parts[1];
  const std::string name = parts[2];
  const bool creates = name.empty();
  if (request.method != (creates ? "POST" : "PATCH") || !request.rawQuery.empty()) {
    return {405, "method", "MethodNotAllowed", {}, "event: " + request.method + " " + request.path};
  }
  const std::string verb = creates ? "create" : "patch";
  if (!granted(namespaceName, verb)) {
    return {403, "events is forbidden: User \"fallbackd\" cannot " + verb + " resource \"events\"",
            "Forbidden"};
  }
  return creates ? create(namespaceName, request) : patch(namespaceName, name, request);
}

EventStore::Reply EventStore::create(const std::string& namespaceName, const Seen& request) {
  if (request.contentType != "application/json") return invalid("content type " + request.contentType);
  json::error_code error;
  auto value = json::parse(request.body, error);
  if (error || !value.is_object()) return invalid("not an object");
  auto& event = value.as_object();
  const auto wrong = wrongEvent(event, namespaceName);
  if (!wrong.empty()) return invalid(wrong);
  if (terminating_.contains(namespaceName)) {
    return {403, "unable to create new content in namespace because it is being terminated", "Forbidden"};
  }
  const std::pair key{namespaceName, textAt(event.at("metadata").as_object(), "name")};
  if (events_.contains(key)) return {409, "events \"" + key.second + "\" already exists", "AlreadyExists"};
  events_[key] = event;
  order_.push_back(key);
  return {201, "", "", event};
}

EventStore::Reply EventStore::patch(const std::string& namespaceName, const std::string& name,
                                    const Seen& request) {
  if (request.contentType != "application/strategic-merge-patch+json") {
    return invalid("content type " + request.contentType);
  }
  json::error_code error;
  const auto value = json::parse(request.body, error);
  if (error || !value.is_object()) return invalid("not an object");
  const auto& change = value.get_object();
  const auto key = unknownKey(change, {"count", "lastTimestamp", "message"});
  if (!key.empty()) return invalid("a patch of " + key);
  const auto found = events_.find({namespaceName, name});
  if (found == events_.end()) return {404, "events \"" + name + "\" not found", "NotFound"};
  auto changed = found->second;
  for (const auto& [field, content] : change) changed[field] = content;
  const auto wrong = wrongEvent(changed, namespaceName);
  if (!wrong.empty()) return invalid(wrong);
  if (changed.at("count").get_int64() <= found->second.at("count").get_int64())
    return invalid("count does not grow");
  found->second = changed;
  return {200, "", "", std::move(changed)};
}

std::vector<json::object> EventStore::all() const {
  std::vector<json::object> list;
  for (const auto& key : order_) {
    if (const auto found = events_.find(key); found != events_.end()) list.push_back(found->second);
  }
  return list;
}

}  // namespace fallbackd::kube_test
