// SPDX-License-Identifier: Apache-2.0
#include "kube/fields.hpp"

#include "base/strings.hpp"

#include <limits>

#include <boost/json.hpp>

namespace fallbackd::kube {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxTold = 8;
constexpr std::size_t kMaxItems = 8192;  // of one list or mapping
constexpr std::size_t kMaxPath = 256;    // a key can be as long as the whole text

std::string_view typeName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::object:
      return "an object";
    case json::kind::array:
      return "a list";
    case json::kind::string:
      return "a text";
    case json::kind::bool_:
      return "true or false";
    case json::kind::null:
      return "null";
    default:
      return "a number";
  }
}

}  // namespace

void FieldProblems::add(const std::string& path, const std::string& what) {
  if (++count_ > kMaxTold) return;
  // The path contains keys that others wrote.
  const auto safe = quoted(path, kMaxPath);
  texts_.push_back(safe.substr(1, safe.size() - 2) + " " + what);
}

std::string FieldProblems::text() const {
  auto text = join(texts_, "; ");
  if (count_ > texts_.size()) text += "; " + std::to_string(count_ - texts_.size()) + " more";
  return text;
}

Fields Fields::of(const json::value& value, std::string path, FieldProblems& problems) {
  const auto* const object = value.if_object();
  Fields fields(object, std::move(path), problems);
  if (object == nullptr && !value.is_null()) fields.wrongType(fields.path_, value, "an object");
  return fields;
}

const json::value* Fields::find(std::string_view key) const {
  const auto* const value = object_ == nullptr ? nullptr : object_->if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string Fields::pathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void Fields::wrongType(const std::string& path, const json::value& value, std::string_view wanted) const {
  problems_->add(path, "is " + std::string(typeName(value)) + ", not " + std::string(wanted));
}

void Fields::problem(std::string_view key, const std::string& what) const {
  problems_->add(pathOf(key), what);
}

void Fields::require(std::string_view key) const {
  if (!has(key)) problem(key, "is missing");
}

std::vector<std::string> Fields::keys() const {
  std::vector<std::string> keys;
  if (object_ == nullptr) return keys;
  for (const auto& entry : *object_) {
    if (!entry.value().is_null()) keys.emplace_back(entry.key());
  }
  return keys;
}

std::string Fields::textOf(const json::value& value, const std::string& path, std::string_view wanted) const {
  const auto* const text = value.if_string();
  if (text == nullptr) {
    wrongType(path, value, wanted);
    return {};
  }
  if (text->find('\0') != json::string::npos) {
    problems_->add(path, "contains a NUL byte");
    return {};
  }
  return std::string(*text);
}

std::string Fields::text(std::string_view key) const {
  const auto* const value = find(key);
  return value == nullptr ? std::string() : textOf(*value, pathOf(key), "a text");
}

std::optional<bool> Fields::boolean(std::string_view key) const {
  const auto* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* const truth = value->if_bool()) return *truth;
  wrongType(pathOf(key), *value, "true or false");
  return std::nullopt;
}

std::optional<std::int64_t> Fields::integerOf(const json::value& value, const std::string& path,
                                              std::int64_t least, std::int64_t most) const {
  if (!value.is_int64() && !value.is_uint64()) {
    wrongType(path, value, "a whole number");
    return std::nullopt;
  }
  const bool beyond =
      value.is_uint64() && value.get_uint64() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  const auto number = beyond             ? std::numeric_limits<std::int64_t>::max()
                      : value.is_int64() ? value.get_int64()
                                         : static_cast<std::int64_t>(value.get_uint64());
  if (beyond || number < least || number > most) {
    problems_->add(path, "is not between " + std::to_string(least) + " and " + std::to_string(most));
    return std::nullopt;
  }
  return number;
}

std::optional<std::int64_t> Fields::integer(std::string_view key, std::int64_t least,
                                            std::int64_t most) const {
  const auto* const value = find(key);
  if (value == nullptr) return std::nullopt;
  return integerOf(*value, pathOf(key), least, most);
}

void Fields::eachItem(std::string_view key,
                      const std::function<void(const json::value&, const std::string&)>& take) const {
  const auto* const value = find(key);
  if (value == nullptr) return;
  const auto* const list = value->if_array();
  if (list == nullptr) return wrongType(pathOf(key), *value, "a list");
  if (list->size() > kMaxItems) {
    return problem(key, "has more than " + std::to_string(kMaxItems) + " elements");
  }
  for (std::size_t i = 0; i < list->size(); ++i) {
    take((*list)[i], pathOf(key) + "[" + std::to_string(i) + "]");
  }
}

std::vector<std::string> Fields::texts(std::string_view key) const {
  std::vector<std::string> texts;
  eachItem(key, [&](const json::value& item, const std::string& path) {
    texts.push_back(textOf(item, path, "a text"));
  });
  return texts;
}

std::vector<std::int64_t> Fields::integers(std::string_view key, std::int64_t least,
                                           std::int64_t most) const {
  std::vector<std::int64_t> numbers;
  eachItem(key, [&](const json::value& item, const std::string& path) {
    if (const auto number = integerOf(item, path, least, most)) numbers.push_back(*number);
  });
  return numbers;
}

std::map<std::string, std::string> Fields::textMap(std::string_view key) const {
  std::map<std::string, std::string> texts;
  const auto inner = object(key);
  for (const auto& name : inner.keys()) texts.emplace(name, inner.text(name));
  return texts;
}

std::string Fields::textOrNumber(std::string_view key) const {
  const auto* const value = find(key);
  if (value == nullptr) return {};
  if (value->is_int64()) return std::to_string(value->get_int64());
  if (value->is_uint64()) return std::to_string(value->get_uint64());
  return textOf(*value, pathOf(key), "a text or a whole number");
}

std::map<std::string, std::string> Fields::textOrNumberMap(std::string_view key) const {
  std::map<std::string, std::string> texts;
  const auto inner = object(key);
  for (const auto& name : inner.keys()) texts.emplace(name, inner.textOrNumber(name));
  return texts;
}

Fields Fields::object(std::string_view key) const {
  const auto* const value = find(key);
  if (value == nullptr) return {nullptr, pathOf(key), *problems_};
  auto inner = Fields::of(*value, pathOf(key), *problems_);
  if (inner.object_ != nullptr && inner.object_->size() > kMaxItems) {
    problem(key, "has more than " + std::to_string(kMaxItems) + " fields");
    inner.object_ = nullptr;
  }
  return inner;
}

void Fields::each(std::string_view key, const std::function<void(const Fields&)>& take) const {
  eachItem(key, [&](const json::value& item, const std::string& path) {
    const auto fields = Fields::of(item, path, *problems_);
    if (fields.present()) take(fields);
  });
}

}  // namespace fallbackd::kube
