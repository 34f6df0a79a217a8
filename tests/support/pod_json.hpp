// SPDX-License-Identifier: Apache-2.0
// Reading pods as JSON.
#pragma once

#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::e2e {

inline const boost::json::object* childOf(const boost::json::object& object, std::string_view key) {
  const auto* const found = object.if_contains(key);
  return found == nullptr ? nullptr : found->if_object();
}

inline std::string textOf(const boost::json::object& object, std::string_view key,
                          const std::string& otherwise = {}) {
  const auto* const found = object.if_contains(key);
  return found != nullptr && found->is_string() ? std::string(found->as_string()) : otherwise;
}

}  // namespace fallbackd::e2e
