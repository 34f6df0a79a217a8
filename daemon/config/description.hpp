// SPDX-License-Identifier: Apache-2.0
// Describes the configuration's keys, as recorded from the reading code itself. The readers run over an empty
// document and record what each call for a value would accept; they run again for each word of a choice,
// since a choice decides which other keys are read. So the keys, types, limits and defaults of the editors'
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
  std::string example;       // of a key that is required, always or sometimes
  std::string defaultValue;  // as written; empty: none, or not a simple one
  std::vector<std::string> words;
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  unsigned visits = 0;   // of a map: how often it was read
  unsigned demands = 0;  // how often the key was required in the map above it
  std::vector<std::unique_ptr<Description>> below;

  /// Required in every case, not only with some choice of another key.
  [[nodiscard]] bool required(const Description& child) const {
    return child.demands > 0 && child.demands >= visits;
  }
  /// The child with that key; created if it does not exist.
  Description& child(const std::string& name) {
    for (const auto& one : below) {
      if (one->key == name) return *one;
    }
    below.push_back(std::make_unique<Description>());
    below.back()->key = name;
    return *below.back();
  }
};

/// The whole tree of the main file.
Description describeConfiguration();

/// What a key is for, in one line, by its path ("workloads[].match.container"). Empty if there is none; a
/// test fails then.
std::string purposeOf(const std::string& path);
/// All paths that purposeOf() knows.
std::vector<std::string> purposes();

/// JSON Schema (draft 7), for editors.
std::string schemaText(const Description& root);
/// A page in Markdown: every key with type, default and purpose.
std::string referenceText(const Description& root);

}  // namespace fallbackd::config
