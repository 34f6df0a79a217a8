#include "config/yaml.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "config/quantity.hpp"

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

namespace fallbackd::config {

namespace {

std::string_view kindOf(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Null:
      return "nothing";
    case YAML::NodeType::Scalar:
      return "a single value";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a mapping";
    default:
      return "nothing";
  }
}

std::string listed(std::initializer_list<std::string_view> words) {
  std::string text;
  for (const auto word : words) {
    if (!text.empty()) text.append(", ");
    text.append(word);
  }
  return text;
}

}  // namespace

std::string Position::toString() const {
  std::string text = file;
  if (line > 0) text.append(":").append(std::to_string(line)).append(":").append(std::to_string(column));
  return text;
}

std::string Diagnostic::toString() const {
  std::string text = Position{file, line, column}.toString() + ": " + message;
  if (!suggestion.empty()) text.append(" (").append(suggestion).append(")");
  return text;
}

void Problems::add(const Position& where, std::string message, std::string suggestion) {
  list_.push_back({where.file, where.line, where.column, std::move(message), std::move(suggestion)});
}

std::vector<Diagnostic> Problems::take() {
  // Files keep the order in which they were read; within one, as a reader goes through it.
  std::vector<std::string> files;
  for (const auto& one : list_) {
    if (std::find(files.begin(), files.end(), one.file) == files.end()) files.push_back(one.file);
  }
  const auto rank = [&](const Diagnostic& one) {
    return std::tuple(std::find(files.begin(), files.end(), one.file) - files.begin(), one.line, one.column);
  };
  std::stable_sort(list_.begin(), list_.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return std::exchange(list_, {});
}

Position Place::position() const {
  const auto mark = node.Mark();
  return {file, mark.is_null() ? 0 : mark.line + 1, mark.is_null() ? 0 : mark.column + 1};
}

void Place::problem(std::string message, std::string suggestion) const {
  problems->add(position(), path.empty() ? std::move(message) : path + ": " + message, std::move(suggestion));
}

std::optional<std::string> scalar(const Place& place, std::string_view wanted) {
  if (place.node.IsScalar()) return place.node.Scalar();
  place.problem("must be " + std::string(wanted) + ", but is " + std::string(kindOf(place.node)));
  return std::nullopt;
}

MapReader::MapReader(Place place, std::initializer_list<std::string_view> keys) : place_(std::move(place)) {
  if (!place_.node.IsMap()) {
    place_.problem("must be a mapping, but is " + std::string(kindOf(place_.node)),
                   "its keys are " + listed(keys));
    return;
  }
  valid_ = true;
  for (const auto& entry : place_.node) {
    const Place keyPlace{entry.first, place_.file, place_.path, place_.problems};
    const auto key = scalar(keyPlace, "a plain key");
    if (!key) continue;
    if (std::find(keys.begin(), keys.end(), *key) == keys.end()) {
      const auto near = closest(*key, std::span(keys.begin(), keys.size()));
      keyPlace.problem("unknown key " + quoted(*key),
                       near ? "did you mean " + std::string(*near) + "?" : "known are " + listed(keys));
      continue;
    }
    if (!values_.emplace(*key, entry.second).second) {
      keyPlace.problem("key " + quoted(*key) + " stands here twice", "remove one of them");
    }
  }
}

std::optional<Place> MapReader::find(std::string_view key, bool required) const {
  const auto found = values_.find(key);
  if (found != values_.end()) {
    const std::string path = place_.path.empty() ? std::string(key) : place_.path + "." + std::string(key);
    return Place{found->second, place_.file, path, place_.problems};
  }
  if (required && valid_) place_.problem("key " + quoted(key) + " is missing");
  return std::nullopt;
}

void MapReader::read(std::string_view key, std::string& out, bool required) const {
  const auto value = find(key, required);
  if (!value) return;
  auto text = scalar(*value, "a text");
  if (!text) return;
  if (text->empty()) {
    value->problem("must not be empty");
    return;
  }
  if (text->find('\0') != std::string::npos) {
    value->problem("must not hold a NUL byte");
    return;
  }
  out = std::move(*text);
}

void MapReader::read(std::string_view key, bool& out) const {
  const auto value = find(key);
  if (!value) return;
  const auto text = scalar(*value, "true or false");
  if (!text) return;
  if (*text != "true" && *text != "false") {
    value->problem("must be true or false, but is " + quoted(*text));
    return;
  }
  out = *text == "true";
}

void MapReader::read(std::string_view key, std::vector<std::string>& out) const {
  if (!has(key)) return;
  std::vector<std::string> list;
  each(key, [&](const Place& item) {
    auto text = scalar(item, "a text");
    if (text && text->find('\0') != std::string::npos) {
      item.problem("must not hold a NUL byte");
    } else if (text) {
      list.push_back(std::move(*text));
    }
  });
  out = std::move(list);
}

void MapReader::read(std::string_view key, std::map<std::string, std::string>& out) const {
  const auto value = find(key);
  if (!value) return;
  if (!value->node.IsMap()) {
    value->problem("must be a mapping of names to texts, but is " + std::string(kindOf(value->node)));
    return;
  }
  std::map<std::string, std::string> map;
  for (const auto& entry : value->node) {
    const Place keyPlace{entry.first, value->file, value->path, value->problems};
    const auto name = scalar(keyPlace, "a plain name");
    if (!name) continue;
    const auto text =
        scalar({entry.second, value->file, value->path + "." + *name, value->problems}, "a text");
    if (name->empty() || name->find('\0') != std::string::npos ||
        (text && text->find('\0') != std::string::npos)) {
      keyPlace.problem("names must not be empty, and no NUL byte may be in names or texts");
    } else if (text && !map.emplace(*name, *text).second) {
      keyPlace.problem(quoted(*name) + " stands here twice", "remove one of them");
    }
  }
  out = std::move(map);
}

void MapReader::duration(std::string_view key, std::chrono::nanoseconds& out, bool mayBeZero) const {
  const auto value = find(key);
  if (!value) return;
  const auto text = scalar(*value, "a duration");
  if (!text) return;
  const auto parsed = parseDuration(*text);
  if (!parsed) {
    value->problem(quoted(*text) + " is not a duration", "write 250ms, 1.5s, 2m or 1h30m");
  } else if (parsed->count() == 0 && !mayBeZero) {
    value->problem("must be longer than zero");
  } else {
    out = *parsed;
  }
}

void MapReader::integer(std::string_view key, std::uint64_t least, std::uint64_t most,
                        const std::function<void(std::uint64_t)>& take) const {
  const auto value = find(key);
  if (!value) return;
  const std::string wanted = "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  const auto text = scalar(*value, wanted);
  if (!text) return;
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (code != std::errc{} || end != text->data() + text->size() || number < least || number > most) {
    value->problem(quoted(*text) + " is not " + wanted);
    return;
  }
  take(number);
}

void MapReader::bytes(std::string_view key, const std::function<void(std::uint64_t)>& take) const {
  const auto value = find(key);
  if (!value) return;
  const auto text = scalar(*value, "an amount of bytes");
  if (!text) return;
  const auto amount = parseBytes(*text);
  if (!amount || *amount == 0) {
    value->problem(quoted(*text) + " is not an amount of bytes", "write 1048576, 64Mi or 1G");
    return;
  }
  take(*amount);
}

void MapReader::choice(std::string_view key, std::initializer_list<std::string_view> words,
                       const std::function<void(std::size_t)>& take) const {
  const auto value = find(key);
  if (!value) return;
  const auto text = scalar(*value, "one of " + listed(words));
  if (!text) return;
  const auto* const found = std::find(words.begin(), words.end(), *text);
  if (found == words.end()) {
    const auto near = closest(*text, std::span(words.begin(), words.size()));
    value->problem(quoted(*text) + " is not one of " + listed(words),
                   near ? "did you mean " + std::string(*near) + "?" : "");
    return;
  }
  take(static_cast<std::size_t>(found - words.begin()));
}

void MapReader::each(std::string_view key, const std::function<void(const Place&)>& take) const {
  const auto value = find(key);
  if (!value) return;
  if (!value->node.IsSequence()) {
    value->problem("must be a list, but is " + std::string(kindOf(value->node)));
    return;
  }
  std::size_t index = 0;
  for (const auto& item : value->node) {
    take({item, value->file, value->path + "[" + std::to_string(index++) + "]", value->problems});
  }
}

}  // namespace fallbackd::config
