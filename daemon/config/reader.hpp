// SPDX-License-Identifier: Apache-2.0
// Reading typed values out of a document: every wrong thing becomes a problem, and reading goes on.
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

/// A value in a file, and the words that name it in messages ("workloads[0].match"). The document outlives
/// it.
struct Place {
  const Node* node = nullptr;
  std::string file;
  std::string path;
  Problems* problems = nullptr;
  /// Set: there is no document. The readers tell what they would take, and find everything to be there.
  Description* description = nullptr;
  std::size_t variant = 0;  // of a description: every choice is the word of this number, from 1; 0: absent

  [[nodiscard]] Position position() const { return {file, node->line, node->column}; }
  void problem(std::string message, std::string suggestion = {}) const;
  /// "must be WANTED, but is a list"
  void wrongKind(std::string_view wanted, std::string suggestion = {}) const;
  /// The texts that the reading code will take, where it compares them itself.
  void oneOf(std::span<const std::string_view> words) const;
};

/// The text of a scalar; reports and returns nothing where it is a list, a mapping or null, or has a NUL.
std::optional<std::string> scalar(const Place& place, std::string_view wanted);

/// A whole number within limits; reports and returns nothing otherwise.
std::optional<std::uint64_t> wholeNumber(const Place& place, std::uint64_t least, std::uint64_t most);

/// "did you mean X?", or what is known where nothing is near.
std::string suggestFor(std::string_view word, std::span<const std::string_view> known);

/// Calls `take` with each element of a list.
void eachItem(const Place& list, const std::function<void(const Place&)>& take);

/// Calls `take` with each key, its place and its value's place, of a mapping whose keys are free.
void eachEntry(const Place& map,
               const std::function<void(const std::string&, const Place&, const Place&)>& take);

/// A mapping with known keys. Unknown and doubled keys are reported when it is made.
class MapReader {
 public:
  MapReader(Place place, std::initializer_list<std::string_view> keys);

  /// False where the place is no mapping (reported): nothing can be read from it.
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] bool has(std::string_view key) const { return values_.contains(key); }
  [[nodiscard]] std::optional<Place> find(std::string_view key) const;
  /// The known keys that are there.
  [[nodiscard]] std::set<std::string, std::less<>> keys() const;
  /// Reports a key that is not there, with an example of its value.
  [[nodiscard]] std::optional<Place> require(std::string_view key, std::string_view example) const;
  /// A problem of the key's value; of the whole mapping where the key is not there.
  void problem(std::string_view key, std::string message, std::string suggestion = {}) const;
  /// Reports a key that must not be here, if it is.
  void forbid(std::string_view key, std::string message, std::string suggestion) const;

  // Each leaves `out` alone where the key is absent or its value is wrong (reported). They tell whether
  // `out` was set.
  bool read(std::string_view key, std::string& out) const;
  bool read(std::string_view key, bool& out) const;
  bool read(std::string_view key, std::vector<std::string>& out) const;
  /// A path that begins with /. A path that does not is reported, and set all the same.
  bool absolutePath(std::string_view key, std::string& out) const;
  bool duration(std::string_view key, std::chrono::nanoseconds& out, bool mayBeZero = false) const;
  // `otherwise` is what holds without the key: for the description only.
  std::optional<std::uint64_t> integer(std::string_view key, std::uint64_t least, std::uint64_t most,
                                       std::optional<std::uint64_t> otherwise = {}) const;
  /// Kubernetes quantity of bytes, at least 1 MiB: 2097152, 64Mi, 1G.
  std::optional<std::uint64_t> bytes(std::string_view key, std::optional<std::uint64_t> otherwise = {}) const;
  /// The index of the value in a closed list of words.
  std::optional<std::size_t> choice(std::string_view key, std::initializer_list<std::string_view> words,
                                    std::optional<std::size_t> otherwise = {}) const;

 private:
  struct Value {
    const Node* node = nullptr;
    Position key;
  };
  /// What stands at the key, where this is a description; nullptr where it is a document.
  [[nodiscard]] Description* describing(std::string_view key, Description::Kind kind) const;

  Place place_;
  bool valid_ = false;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace fallbackd::config
