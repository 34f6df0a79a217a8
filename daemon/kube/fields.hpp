// SPDX-License-Identifier: Apache-2.0
// Reads Kubernetes objects from JSON as Go's decoder does: unknown fields are ignored, null is absence. A
// value of a wrong type is a problem that names its path: spec.containers[0].image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace fallbackd::kube {

/// The problems of one object: the texts of the first few, and the number of all.
class FieldProblems {
 public:
  void add(const std::string& path, const std::string& what);
  [[nodiscard]] bool empty() const { return count_ == 0; }
  /// In one line: "spec.a is a number, not a text; spec.b ...; 3 more".
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> texts_;
  std::size_t count_ = 0;
};

/// One JSON object and where it is. An object that is absent has no fields.
class Fields {
 public:
  Fields(const boost::json::object* object, std::string path, FieldProblems& problems)
      : object_(object), path_(std::move(path)), problems_(&problems) {}
  /// For a value that must be an object.
  static Fields of(const boost::json::value& value, std::string path, FieldProblems& problems);

  [[nodiscard]] bool present() const { return object_ != nullptr; }
  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The keys whose values are not null.
  [[nodiscard]] std::vector<std::string> keys() const;

  // Empty if the field is absent, or has a wrong type (a problem).
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const;
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key, std::int64_t least,
                                                    std::int64_t most) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view key) const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key, std::int64_t least,
                                                   std::int64_t most) const;
  [[nodiscard]] std::map<std::string, std::string> textMap(std::string_view key) const;
  /// Texts or numbers, as texts: quantities and ports.
  [[nodiscard]] std::string textOrNumber(std::string_view key) const;
  [[nodiscard]] std::map<std::string, std::string> textOrNumberMap(std::string_view key) const;
  [[nodiscard]] Fields object(std::string_view key) const;
  void each(std::string_view key, const std::function<void(const Fields&)>& take) const;

  void require(std::string_view key) const;
  void problem(std::string_view key, const std::string& what) const;

 private:
  [[nodiscard]] const boost::json::value* find(std::string_view key) const;
  [[nodiscard]] std::string pathOf(std::string_view key) const;
  void wrongType(const std::string& path, const boost::json::value& value, std::string_view wanted) const;
  /// A text without NUL bytes, which nothing that is passed to a process can contain.
  [[nodiscard]] std::string textOf(const boost::json::value& value, const std::string& path,
                                   std::string_view wanted) const;
  [[nodiscard]] std::optional<std::int64_t> integerOf(const boost::json::value& value,
                                                      const std::string& path, std::int64_t least,
                                                      std::int64_t most) const;
  void eachItem(std::string_view key,
                const std::function<void(const boost::json::value&, const std::string&)>& take) const;

  const boost::json::object* object_;
  std::string path_;
  FieldProblems* problems_;
};

}  // namespace fallbackd::kube
