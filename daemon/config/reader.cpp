// SPDX-License-Identifier: Apache-2.0
#include "config/reader.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "config/quantity.hpp"

#include <algorithm>
#include <charconv>
#include <span>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::uint64_t kMinBytes = 1 << 20;
// Far above any real use, and far below where adding it to a clock would overflow.
constexpr std::chrono::hours kLongestDuration{24 * 3650};
constexpr std::size_t kLongestTypo = 64;

std::string listed(std::span<const std::string_view> words) {
  std::string text;
  for (const auto word : words) {
    if (!text.empty()) text.append(", ");
    text.append(word);
  }
  return text;
}

std::string under(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

}  // namespace

void Place::problem(std::string message, std::string suggestion) const {
  if (description != nullptr) return;
  problems->add(position(), path.empty() ? std::move(message) : path + ": " + message, std::move(suggestion));
}

void Place::wrongKind(std::string_view wanted, std::string suggestion) const {
  if (node->reported || description != nullptr) return;
  if (suggestion.empty() && node->kind == Node::Kind::null) {
    suggestion = "give it a value, or remove the key";
  }
  problem("must be " + std::string(wanted) + ", but is " + std::string(describe(node->kind)),
          std::move(suggestion));
}

void Place::oneOf(std::span<const std::string_view> words) const {
  if (description == nullptr) return;
  description->kind = Description::Kind::choice;
  description->words.assign(words.begin(), words.end());
}

std::optional<std::string> scalar(const Place& place, std::string_view wanted) {
  if (place.description != nullptr) {
    if (place.description->kind == Description::Kind::unknown)
      place.description->kind = Description::Kind::text;
    return std::nullopt;
  }
  if (place.node->kind != Node::Kind::scalar) {
    place.wrongKind(wanted);
    return std::nullopt;
  }
  if (place.node->text.find('\0') != std::string::npos) {
    place.problem("must not hold a NUL byte");
    return std::nullopt;
  }
  return place.node->text;
}

std::optional<std::uint64_t> wholeNumber(const Place& place, std::uint64_t least, std::uint64_t most) {
  if (place.description != nullptr) {
    place.description->kind = Description::Kind::number;
    place.description->least = least;
    place.description->most = most;
    return std::nullopt;
  }
  const std::string wanted = "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  const auto text = scalar(place, wanted);
  if (!text) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (code != std::errc{} || end != text->data() + text->size() || number < least || number > most) {
    place.problem(quoted(*text) + " is not " + wanted);
    return std::nullopt;
  }
  return number;
}

std::string suggestFor(std::string_view word, std::span<const std::string_view> known) {
  if (word.size() <= kLongestTypo) {
    if (const auto near = closest(word, known)) return "did you mean " + std::string(*near) + "?";
  }
  return known.empty() ? "" : "expected one of " + listed(known);
}

void eachItem(const Place& list, const std::function<void(const Place&)>& take) {
  if (list.description != nullptr) {
    list.description->kind = Description::Kind::list;
    take({list.node, list.file, list.path + "[]", list.problems, &list.description->child(""), list.variant});
    return;
  }
  if (list.node->kind != Node::Kind::list) {
    list.wrongKind("a list");
    return;
  }
  std::size_t index = 0;
  for (const auto& item : list.node->items) {
    if (list.problems->full()) return;
    take({&item, list.file, list.path + "[" + std::to_string(index++) + "]", list.problems});
  }
}

void eachEntry(const Place& map,
               const std::function<void(const std::string&, const Place&, const Place&)>& take) {
  if (map.description != nullptr) {
    map.description->kind = Description::Kind::entries;
    Description key;
    take("", {map.node, map.file, map.path, map.problems, &key, map.variant},
         {map.node, map.file, under(map.path, "*"), map.problems, &map.description->child(""), map.variant});
    return;
  }
  if (map.node->kind != Node::Kind::map) {
    map.wrongKind("a mapping of names to strings");
    return;
  }
  std::map<std::string, Position> seen;
  for (std::size_t i = 0; i + 1 < map.node->items.size() && !map.problems->full(); i += 2) {
    const Place keyPlace{&map.node->items[i], map.file, map.path, map.problems};
    const auto key = scalar(keyPlace, "a plain name");
    if (!key) continue;
    const auto [first, fresh] = seen.emplace(*key, keyPlace.position());
    if (!fresh) {
      keyPlace.problem(quoted(*key) + " appears twice, first at " + first->second.toString(),
                       "remove one of them");
      continue;
    }
    take(*key, keyPlace, {&map.node->items[i + 1], map.file, under(map.path, *key), map.problems});
  }
}

MapReader::MapReader(Place place, std::initializer_list<std::string_view> keys) : place_(std::move(place)) {
  const std::span<const std::string_view> known(keys.begin(), keys.size());
  if (place_.description != nullptr) {
    place_.description->kind = Description::Kind::map;
    ++place_.description->visits;
    for (const auto key : known) place_.description->child(std::string(key));
    valid_ = true;
    return;
  }
  if (place_.node->kind != Node::Kind::map) {
    const bool empty = place_.node->kind == Node::Kind::null && !known.empty();
    place_.wrongKind("a mapping", empty ? "" : known.empty() ? "write {}" : "its keys are " + listed(known));
    return;
  }
  valid_ = true;
  eachEntry(place_, [&](const std::string& key, const Place& keyPlace, const Place& value) {
    if (std::find(known.begin(), known.end(), key) != known.end()) {
      values_.emplace(key, Value{value.node, keyPlace.position()});
    } else if (key == "<<") {
      keyPlace.problem("merge keys (<<) are not supported", "write the keys out");
    } else {
      keyPlace.problem("unknown key " + quoted(key), suggestFor(key, known));
    }
  });
}

Description* MapReader::describing(std::string_view key, Description::Kind kind) const {
  if (place_.description == nullptr) return nullptr;
  auto& child = place_.description->child(std::string(key));
  child.kind = kind;
  return &child;
}

std::set<std::string, std::less<>> MapReader::keys() const {
  std::set<std::string, std::less<>> keys;
  for (const auto& [key, value] : values_) keys.insert(key);
  return keys;
}

std::optional<Place> MapReader::find(std::string_view key) const {
  if (place_.description != nullptr) {
    return Place{place_.node,
                 place_.file,
                 under(place_.path, key),
                 place_.problems,
                 &place_.description->child(std::string(key)),
                 place_.variant};
  }
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  return Place{found->second.node, place_.file, under(place_.path, key), place_.problems};
}

std::optional<Place> MapReader::require(std::string_view key, std::string_view example) const {
  auto value = find(key);
  if (value && value->description != nullptr) {
    ++value->description->demands;
    value->description->example = example;
  }
  if (!value && valid_) {
    place_.problem("key " + quoted(key) + " is missing",
                   "add " + std::string(key) + ": " + std::string(example));
  }
  return value;
}

void MapReader::problem(std::string_view key, std::string message, std::string suggestion) const {
  find(key).value_or(place_).problem(std::move(message), std::move(suggestion));
}

void MapReader::forbid(std::string_view key, std::string message, std::string suggestion) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return;
  place_.problems->add(found->second.key, std::move(message), std::move(suggestion));
}

bool MapReader::read(std::string_view key, std::string& out) const {
  if (auto* const described = describing(key, Description::Kind::text)) {
    described->defaultValue = out;
    return false;
  }
  const auto value = find(key);
  if (!value) return false;
  auto text = scalar(*value, "a string");
  if (!text) return false;
  if (text->empty()) {
    value->problem("must not be empty", "give it a value, or remove the key");
    return false;
  }
  out = std::move(*text);
  return true;
}

bool MapReader::read(std::string_view key, bool& out) const {
  if (auto* const described = describing(key, Description::Kind::boolean)) {
    described->defaultValue = out ? "true" : "false";
    return false;
  }
  const auto value = find(key);
  if (!value) return false;
  const auto text = scalar(*value, "true or false");
  if (!text) return false;
  if (*text != "true" && *text != "false") {
    // YAML 1.1 accepted these words, too.
    const bool yes = *text == "yes" || *text == "on" || *text == "True" || *text == "TRUE";
    const bool no = *text == "no" || *text == "off" || *text == "False" || *text == "FALSE";
    value->problem("must be true or false, but is " + quoted(*text), yes  ? "write true"
                                                                     : no ? "write false"
                                                                          : "");
    return false;
  }
  out = *text == "true";
  return true;
}

bool MapReader::read(std::string_view key, std::vector<std::string>& out) const {
  if (auto* const described = describing(key, Description::Kind::list)) {
    described->child("").kind = Description::Kind::text;
    described->defaultValue = "[" + join(out, ", ") + "]";
    return false;
  }
  const auto value = find(key);
  if (!value) return false;
  std::vector<std::string> list;
  eachItem(*value, [&](const Place& item) {
    if (auto text = scalar(item, "a string")) list.push_back(std::move(*text));
  });
  out = std::move(list);
  return true;
}

bool MapReader::absolutePath(std::string_view key, std::string& out) const {
  if (!read(key, out)) return false;
  if (!out.starts_with('/')) {
    problem(key, "must be an absolute path, but is " + quoted(out),
            out.starts_with("unix://") ? "remove unix://" : "begin it with /");
  }
  return true;
}

bool MapReader::duration(std::string_view key, std::chrono::nanoseconds& out, bool mayBeZero) const {
  if (auto* const described = describing(key, Description::Kind::duration)) {
    described->defaultValue = formatDuration(out);
    return false;
  }
  const auto value = find(key);
  if (!value) return false;
  const auto text = scalar(*value, "a duration");
  if (!text) return false;
  const auto parsed = parseDuration(*text);
  if (!parsed) {
    value->problem(quoted(*text) + " is not a duration", "write 250ms, 1.5s, 2m or 1h30m");
  } else if (parsed->count() == 0 && !mayBeZero) {
    value->problem("must be longer than zero");
  } else if (*parsed > kLongestDuration) {
    value->problem(quoted(*text) + " is longer than 3650d");
  } else {
    out = *parsed;
    return true;
  }
  return false;
}

std::optional<std::uint64_t> MapReader::integer(std::string_view key, std::uint64_t least, std::uint64_t most,
                                                std::optional<std::uint64_t> otherwise) const {
  if (auto* const described = describing(key, Description::Kind::number)) {
    described->least = least;
    described->most = most;
    if (otherwise) described->defaultValue = std::to_string(*otherwise);
    return std::nullopt;
  }
  const auto value = find(key);
  return value ? wholeNumber(*value, least, most) : std::nullopt;
}

std::optional<std::uint64_t> MapReader::bytes(std::string_view key,
                                              std::optional<std::uint64_t> otherwise) const {
  if (auto* const described = describing(key, Description::Kind::bytes)) {
    if (otherwise) described->defaultValue = std::to_string(*otherwise >> 20) + "Mi";
    return std::nullopt;
  }
  const auto value = find(key);
  if (!value) return std::nullopt;
  const auto text = scalar(*value, "a number of bytes");
  if (!text) return std::nullopt;
  const auto amount = parseBytes(*text);
  if (!amount) {
    value->problem(quoted(*text) + " is not a number of bytes", "write 67108864, 64Mi or 1G");
  } else if (*amount < kMinBytes) {
    value->problem(quoted(*text) + " is less than 1Mi", "a plain number counts bytes; write 64Mi");
    return std::nullopt;
  }
  return amount;
}

std::optional<std::size_t> MapReader::choice(std::string_view key,
                                             std::initializer_list<std::string_view> words,
                                             std::optional<std::size_t> otherwise) const {
  if (auto* const described = describing(key, Description::Kind::choice)) {
    described->words.assign(words.begin(), words.end());
    if (otherwise) described->defaultValue = described->words[*otherwise];
    if (place_.variant > 0 && place_.variant <= words.size()) return place_.variant - 1;
    return std::nullopt;
  }
  const auto value = find(key);
  if (!value) return std::nullopt;
  const std::span<const std::string_view> known(words.begin(), words.size());
  const auto text = scalar(*value, "one of " + listed(known));
  if (!text) return std::nullopt;
  const auto found = std::find(known.begin(), known.end(), *text);
  if (found != known.end()) return static_cast<std::size_t>(found - known.begin());
  const auto near = text->size() <= kLongestTypo ? closest(*text, known) : std::nullopt;
  value->problem(quoted(*text) + " is not one of " + listed(known),
                 near ? "did you mean " + std::string(*near) + "?" : "");
  return std::nullopt;
}

}  // namespace fallbackd::config
