// SPDX-License-Identifier: Apache-2.0
#include "kube/listing.hpp"

#include "base/strings.hpp"
#include "kube/json_fields.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::kube {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxMessage = 300;

tl::unexpected<Error> notOne(const std::string& what) {
  return fail(Stage::kube, Reason::invalid, "what was received is not " + what);
}

/// `at` is where the string begins.
std::size_t endOfString(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

/// `at` is where the array begins.
std::size_t endOfArray(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  while (at < text.size()) {
    if (text[at] == '"') {
      at = endOfString(text, at);
      continue;
    }
    const char sign = text[at++];
    if (sign == '[' || sign == '{') ++depth;
    if ((sign == ']' || sign == '}') && --depth == 0) break;
  }
  return at;
}

/// managedFields are the only part of an object that a server passes on as its author wrote it. Nothing here
/// needs them.
std::string withoutManagedFields(std::string_view text) {
  std::string rest;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '"') {
      rest += text[at++];
      continue;
    }
    const auto end = endOfString(text, at);
    const auto word = text.substr(at, end - at);
    rest += word;
    at = end;
    if (word != "\"managedFields\"" || text.substr(at, 2) != ":[") continue;
    rest += ":[]";
    at = endOfArray(text, at + 1);
  }
  return rest;
}

}  // namespace

/// One object must not make a list unreadable: its author chooses how deep its managedFields are, and their
/// bytes.
Result<json::value> parsedJson(const std::string& text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::error_code error;
  auto value = json::parse(text, error, {}, options);
  if (error) value = json::parse(withoutManagedFields(text), error, {}, options);
  if (error) return fail(Stage::kube, Reason::protocol, "JSON: " + error.message());
  return value;
}

Result<ListPage> parseList(const std::string& json, const std::string& kind) {
  FB_TRY(auto value, parsedJson(json));
  auto* const list = value.if_object();
  if (list == nullptr || field::text(*list, "kind") != kind) return notOne("a " + kind);
  ListPage page;
  if (const auto* const metadata = field::object(*list, "metadata")) {
    page.resourceVersion = field::text(*metadata, "resourceVersion");
    page.more = field::text(*metadata, "continue");
  }
  auto* const items = list->if_contains("items");
  // Go writes an empty list as null.
  if (items == nullptr || items->is_null()) return page;
  if (!items->is_array()) return notOne("a " + kind + ": its items are not a list");
  page.items = std::move(items->get_array());
  return page;
}

Result<WatchEvent> parseWatchEvent(const std::string& line) {
  FB_TRY(auto value, parsedJson(line));
  auto* const event = value.if_object();
  auto* const object = event == nullptr ? nullptr : event->if_contains("object");
  if (object == nullptr || !object->is_object()) return notOne("an event of a watch");
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
  if (made.resourceVersion.empty()) return notOne("an event of a watch: it has no resourceVersion");
  if (type == "BOOKMARK") {
    made.kind = WatchEvent::Kind::bookmark;
    return made;
  }
  if (type == "DELETED") {
    made.kind = WatchEvent::Kind::gone;
  } else if (type == "ADDED" || type == "MODIFIED") {
    made.kind = WatchEvent::Kind::changed;
  } else {
    return notOne("an event of a watch: its type is not known");
  }
  made.object = std::move(object->get_object());
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
