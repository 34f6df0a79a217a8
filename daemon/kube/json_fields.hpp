// SPDX-License-Identifier: Apache-2.0
// Fields of objects that others wrote: a field that is missing or has a wrong type is absent, never an error.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>

#include <boost/json.hpp>

namespace fallbackd::kube::field {

inline const boost::json::value* at(const boost::json::object& object, const char* key) {
  return object.if_contains(key);
}

inline const boost::json::object* object(const boost::json::object& from, const char* key) {
  const auto* const value = at(from, key);
  return value == nullptr ? nullptr : value->if_object();
}

inline const boost::json::array* array(const boost::json::object& from, const char* key) {
  const auto* const value = at(from, key);
  return value == nullptr ? nullptr : value->if_array();
}

inline std::string text(const boost::json::object& from, const char* key) {
  const auto* const value = at(from, key);
  const auto* const found = value == nullptr ? nullptr : value->if_string();
  return found == nullptr ? std::string() : std::string(found->data(), found->size());
}

inline bool isTrue(const boost::json::object& from, const char* key) {
  const auto* const value = at(from, key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

inline std::map<std::string, std::string> texts(const boost::json::object& from, const char* key) {
  std::map<std::string, std::string> found;
  const auto* const map = object(from, key);
  if (map == nullptr) return found;
  for (const auto& [name, value] : *map) {
    const auto* const one = value.if_string();
    if (one != nullptr) found.emplace(std::string(name), std::string(one->data(), one->size()));
  }
  return found;
}

/// The object at the end of a path of keys; null if there is none.
inline const boost::json::object* objectAt(const boost::json::object& from,
                                           std::initializer_list<const char*> path) {
  const auto* found = &from;
  for (const auto* const key : path) {
    found = object(*found, key);
    if (found == nullptr) return nullptr;
  }
  return found;
}

inline std::optional<std::int64_t> number(const boost::json::object* from, const char* key) {
  const auto* const value = from == nullptr ? nullptr : at(*from, key);
  if (value == nullptr || !value->is_int64()) return std::nullopt;
  return value->get_int64();
}

}  // namespace fallbackd::kube::field
