// SPDX-License-Identifier: Apache-2.0
// What the configuration's keys are, as the reading code itself tells it: the readers run once over no
// document at all, and each call for a value leaves what it would have taken; once more for each word of
// their choices, since those decide what else is read. So keys, types, limits and defaults of the editors'
// schema and of the reference page cannot differ from what is read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fallbackd::config {

struct Description {
  enum class Kind : std::uint8_t {
    unknown,
    map,      // of the keys below
    entries,  // a mapping with free keys; below is one entry
    list,     // below is one item
    text,
    boolean,
    number,
    duration,
    bytes,
    choice,  // one of `words`
  };
  Kind kind = Kind::unknown;
  std::string key;           // in the mapping above it; empty for an item
  std::string example;       // of a key that is demanded, always or sometimes
  std::string defaultValue;  // as it is written; empty: none, or not a plain one
  std::vector<std::string> words;
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  unsigned visits = 0;   // of a map: how often it was read
  unsigned demands = 0;  // how often the key was demanded in the map above it
  std::vector<std::unique_ptr<Description>> below;

  /// The one with that key; made where it is not there.
  /// In every case, not only with some choice of another key.
  [[nodiscard]] bool required(const Description& child) const {
    return child.demands > 0 && child.demands >= visits;
  }
  Description& child(const std::string& name) {
    for (const auto& one : below) {
      if (one->key == name) return *one;
    }
    below.push_back(std::make_unique<Description>());
    below.back()->key = name;
    return *below.back();
  }
};

/// Of the main file: the whole tree.
Description describeConfiguration();

/// One line on what a key is for, by its path ("workloads[].match.container"); empty where there is none,
/// which a test does not let pass.
std::string purposeOf(const std::string& path);
/// All paths that purposeOf() knows.
std::vector<std::string> purposes();

/// JSON Schema (draft 7), for editors.
std::string schemaText(const Description& root);
/// A page in Markdown: every key with type, default and purpose.
std::string referenceText(const Description& root);

}  // namespace fallbackd::config
