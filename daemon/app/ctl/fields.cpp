// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/fields.hpp"

#include <array>
#include <cstdio>

#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace json = boost::json;

std::string text(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return "-";
  if (const auto* string = value->if_string()) return string->empty() ? "-" : std::string(*string);
  return json::serialize(*value);
}

std::string rawText(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* string = value == nullptr ? nullptr : value->if_string();
  return string == nullptr ? std::string() : std::string(*string);
}

bool flag(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::string duration(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return "-";
  const auto millis = value->to_number<double>();
  std::array<char, 32> buffer{};
  const int size = millis < 1e4   ? std::snprintf(buffer.data(), buffer.size(), "%.1f ms", millis)
                   : millis < 6e5 ? std::snprintf(buffer.data(), buffer.size(), "%.1f s", millis / 1e3)
                                  : std::snprintf(buffer.data(), buffer.size(), "%.0f min", millis / 6e4);
  return {buffer.data(), static_cast<std::size_t>(size)};
}

std::string when(const json::object& object, std::string_view key, std::string_view now) {
  const auto time = text(object, key);
  constexpr std::size_t kDate = 10;
  constexpr std::size_t kSeconds = 19;
  if (time.size() < kSeconds) return time;
  if (time.substr(0, kDate) == now.substr(0, kDate)) return time.substr(kDate + 1, kSeconds - kDate - 1);
  return time.substr(0, kDate) + " " + time.substr(kDate + 1, kSeconds - kDate - 1);
}

const json::array& list(const json::object& object, std::string_view key) {
  static const json::array none;
  const auto* value = object.if_contains(key);
  const auto* array = value == nullptr ? nullptr : value->if_array();
  return array == nullptr ? none : *array;
}

std::string podOf(const json::object& object) {
  return text(object, "namespace") + "/" + text(object, "pod");
}

std::vector<std::string> recoveryHead() {
  return {"RECOVERY", "STATE", "SINCE (UTC)", "POD",     "CONTAINER", "ADDRESS",
          "BINARY",   "CAUSE", "DETECTED",    "STARTED", "READY",     "ERROR"};
}

std::vector<std::string> recoveryCells(const json::object& one, std::string_view now) {
  static const json::object none;
  const auto* phases = one.if_contains("sinceWaitingMs");
  const auto& millis = phases != nullptr && phases->is_object() ? phases->get_object() : none;
  const auto* error = one.if_contains("error");
  return {text(one, "id"),
          text(one, "state"),
          when(one, "begun", now),
          podOf(one),
          text(one, "container"),
          text(one, "address"),
          text(one, "binary"),
          text(one, "cause"),
          duration(millis, "detected"),
          duration(millis, "started"),
          duration(millis, "ready"),
          error != nullptr && error->is_object() ? text(error->get_object(), "message") : ""};
}

}  // namespace fallbackd::ctl
