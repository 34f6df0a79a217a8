// SPDX-License-Identifier: Apache-2.0
// YAML text -> a tree of values that know their position. No other file uses yaml-cpp.
//
// One document per file, plain YAML. Anchors, aliases, tags and merge keys are refused, so that every value
// is written where it is used and a small file stays small. Accepts any bytes; safe to fuzz.
#pragma once

#include "config/problems.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

inline constexpr std::size_t kMaxDepth = 64;  // of nesting

struct Node {
  enum class Kind : std::uint8_t { null, scalar, list, map };
  Kind kind = Kind::null;
  int line = 0;
  int column = 0;           // a null has the position of its key
  bool reported = false;    // an alias: already reported, has no value
  std::string text;         // of a scalar, whatever it looks like: true, 5 and "5" are all text here
  std::vector<Node> items;  // of a list; of a map: key, value, key, value, ...
};

/// "a list", "nothing", ...: for messages.
std::string_view describe(Node::Kind kind);

/// Reports a problem and returns nothing if the text is not one plain document.
std::optional<Node> parseDocument(const std::string& file, std::string_view text, Problems& problems);

}  // namespace fallbackd::config
