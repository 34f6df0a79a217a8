// SPDX-License-Identifier: Apache-2.0
// Reads typed values out of a document. Every mistake becomes a problem, and reading goes on.
#pragma once

#include "config/description.hpp"
#include "config/document.hpp"
#include "config/problems.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

/// A value in a file, and its path for messages ("workloads[0].match"). The document must outlive it.
struct Place {
  const Node* node = nullptr;
  std::string file;
  std::string path;
  Problems* problems = nullptr;
  /// If set there is no document: the readers record what they would accept, and find every key present.
  Description* description = nullptr;
  std::size_t variant = 0;  // of a description: choices take their word with this number, from 1; 0: absent

  [[nodiscard]] Position position() const { return {file, node->line, node->column}; }
  void problem(std::string message, std::string suggestion = {}) const;
  /// "must be WANTED, but is a list"
  void wrongKind(std::string_view wanted, std::string suggestion = {}) const;
  /// The words that the reading code accepts, where it compares them itself.
  void oneOf(std::span<const std::string_view> words) const;
};

/// The text of a scalar. Reports a list, a mapping, a null or a NUL byte, and returns nothing.
std::optional<std::string> scalar(const Place& place, std::string_view wanted);

/// A whole number within limits. Otherwise reports and returns nothing.
std::optional<std::uint64_t> wholeNumber(const Place& place, std::uint64_t least, std::uint64_t most);

/// "did you mean X?", or the known words if none is close.
std::string suggestFor(std::string_view word, std::span<const std::string_view> known);

/// Calls `take` with each element of a list.
void eachItem(const Place& list, const std::function<void(const Place&)>& take);

/// For a mapping with free keys: calls `take` with each key, its place and its value's place.
void eachEntry(const Place& map,
               const std::function<void(const std::string&, const Place&, const Place&)>& take);

/// A mapping with known keys. The constructor reports unknown and repeated keys.
class MapReader {
 public:
  MapReader(Place place, std::initializer_list<std::string_view> keys);

  /// False if the place is not a mapping (already reported): nothing can be read from it.
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] bool has(std::string_view key) const { return values_.contains(key); }
  [[nodiscard]] std::optional<Place> find(std::string_view key) const;
  /// The known keys that are there.
  [[nodiscard]] std::set<std::string, std::less<>> keys() const;
  /// Reports a missing key, with an example of its value.
  [[nodiscard]] std::optional<Place> require(std::string_view key, std::string_view example) const;
  /// Reports a problem of the key's value, or of the whole mapping if the key is missing.
  void problem(std::string_view key, std::string message, std::string suggestion = {}) const;
  /// Reports a key that is not allowed here, if it is present.
  void forbid(std::string_view key, std::string message, std::string suggestion) const;

  // If the key is absent or its value is wrong (reported), each leaves `out` alone. They return whether `out`
  // was set.
  bool read(std::string_view key, std::string& out) const;
  bool read(std::string_view key, bool& out) const;
  bool read(std::string_view key, std::vector<std::string>& out) const;
  /// A path that begins with /. Any other path is reported, but still set.
  bool absolutePath(std::string_view key, std::string& out) const;
  bool duration(std::string_view key, std::chrono::nanoseconds& out, bool mayBeZero = false) const;
  // `otherwise` is the default without the key: only the description uses it.
  std::optional<std::uint64_t> integer(std::string_view key, std::uint64_t least, std::uint64_t most,
                                       std::optional<std::uint64_t> otherwise = {}) const;
  /// A Kubernetes quantity of bytes, at least 1 MiB: 2097152, 64Mi, 1G.
  std::optional<std::uint64_t> bytes(std::string_view key, std::optional<std::uint64_t> otherwise = {}) const;
  /// The index of the value in a closed list of words.
  std::optional<std::size_t> choice(std::string_view key, std::initializer_list<std::string_view> words,
                                    std::optional<std::size_t> otherwise = {}) const;

 private:
  struct Value {
    const Node* node = nullptr;
    Position key;
  };
  /// The description of the key, or nullptr if this is a document.
  [[nodiscard]] Description* describing(std::string_view key, Description::Kind kind) const;

  Place place_;
  bool valid_ = false;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace fallbackd::config
