// A positioned reader over yaml-cpp: every wrong thing becomes a Diagnostic, and reading goes on.
#pragma once

#include "config/load.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/yaml.h>

namespace fallbackd::config {

/// Where something stands.
struct Position {
  std::string file;
  int line = 0;
  int column = 0;
  [[nodiscard]] std::string toString() const;
};

/// Collects what is wrong, for all files.
class Problems {
 public:
  void add(const Position& where, std::string message, std::string suggestion = {});
  [[nodiscard]] bool empty() const { return list_.empty(); }
  /// In the order of files, lines and columns.
  std::vector<Diagnostic> take();

 private:
  std::vector<Diagnostic> list_;
};

/// A value in a file, and the words that name it in messages ("workloads[0].match").
struct Place {
  YAML::Node node;
  std::string file;
  std::string path;
  Problems* problems = nullptr;

  [[nodiscard]] Position position() const;
  void problem(std::string message, std::string suggestion = {}) const;
};

/// A mapping with known keys. Unknown and doubled keys are reported when it is made.
class MapReader {
 public:
  MapReader(Place place, std::initializer_list<std::string_view> keys);

  /// False where the place is no mapping (reported): nothing can be read from it.
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] const Place& place() const { return place_; }
  [[nodiscard]] bool has(std::string_view key) const { return values_.contains(key); }
  /// The value of a key; reports its absence if `required`.
  [[nodiscard]] std::optional<Place> find(std::string_view key, bool required = false) const;

  // Each leaves `out` alone where the key is absent or its value is wrong (reported).
  void read(std::string_view key, std::string& out, bool required = false) const;
  void read(std::string_view key, bool& out) const;
  void read(std::string_view key, std::vector<std::string>& out) const;
  void read(std::string_view key, std::map<std::string, std::string>& out) const;
  void duration(std::string_view key, std::chrono::nanoseconds& out, bool mayBeZero = false) const;
  void integer(std::string_view key, std::uint64_t least, std::uint64_t most,
               const std::function<void(std::uint64_t)>& take) const;
  /// Kubernetes quantity of bytes: 1048576, 64Mi, 1G.
  void bytes(std::string_view key, const std::function<void(std::uint64_t)>& take) const;
  /// One of a closed list of words; `take` gets its index.
  void choice(std::string_view key, std::initializer_list<std::string_view> words,
              const std::function<void(std::size_t)>& take) const;
  /// Calls `take` with each element of a list.
  void each(std::string_view key, const std::function<void(const Place&)>& take) const;

 private:
  Place place_;
  bool valid_ = false;
  std::map<std::string, YAML::Node, std::less<>> values_;
};

/// The text of a scalar; reports and returns nothing where it is a list, a mapping or null.
std::optional<std::string> scalar(const Place& place, std::string_view wanted);

}  // namespace fallbackd::config
