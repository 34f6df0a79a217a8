// SPDX-License-Identifier: Apache-2.0
#include "coverage/manifests.hpp"

#include "base/strings.hpp"
#include "config/text_form.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <boost/json.hpp>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

namespace fallbackd::coverage {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxNesting = 64;
constexpr std::size_t kMaxValues = 4'000'000;  // aliases make small texts large
constexpr std::string_view kMark = "\xEF\xBB\xBF";

bool isOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

std::optional<json::value> numberIn(std::string_view text) {
  auto digits = text;
  if (!digits.empty() && (digits.front() == '-' || digits.front() == '+')) digits.remove_prefix(1);
  if (digits.empty() || (!isDigit(digits.front()) && digits.front() != '.')) return std::nullopt;
  const bool negative = text.front() == '-';
  int base = 10;
  if (digits.starts_with("0x")) base = 16;
  if (digits.starts_with("0o")) base = 8;
  if (base != 10) digits.remove_prefix(2);
  std::uint64_t whole = 0;
  const auto* const last = digits.data() + digits.size();
  const auto [end, code] = std::from_chars(digits.data(), last, whole, base);
  if (code == std::errc{} && end == last && !digits.empty()) {
    if (!negative) return json::value(whole);
    if (whole <= static_cast<std::uint64_t>(INT64_MAX)) return json::value(-static_cast<std::int64_t>(whole));
  }
  if (base != 10 || !std::all_of(digits.begin(), digits.end(), [](char c) {
        return isDigit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
      })) {
    return std::nullopt;
  }
  double real = 0;
  const auto [stop, failed] = std::from_chars(digits.data(), last, real);
  if (failed != std::errc{} || stop != last) return std::nullopt;
  return json::value(negative ? -real : real);
}

/// The value of a plain scalar by Kubernetes' reader, which follows YAML 1.1. A single y or n is a name.
json::value resolved(const std::string& text) {
  if (isOneOf(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (isOneOf(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})) return true;
  if (isOneOf(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})) return false;
  if (auto number = numberIn(text)) return std::move(*number);
  return json::value(text);
}

std::size_t sizeOf(const json::value& value) {
  std::size_t size = 1;
  if (const auto* const list = value.if_array()) {
    for (const auto& one : *list) size += sizeOf(one);
  } else if (const auto* const map = value.if_object()) {
    for (const auto& one : *map) size += sizeOf(one.value());
  }
  return size;
}

/// Ends the parse; the problem has been reported.
struct Halt : std::exception {};

class Assembler : public YAML::EventHandler {
 public:
  Assembler(const std::string& file, const config::TextPlaces& places, config::Problems& problems)
      : file_(file), places_(places), problems_(problems) {}

  struct Document {
    json::value value;
    config::Position where;
  };
  std::vector<Document> documents;

  void OnDocumentStart(const YAML::Mark& mark) override {
    // At some characters yaml-cpp makes no progress and reports empty documents for ever.
    if (started_ && mark.pos == begun_.pos)
      halt(mark, "malformed YAML: nothing can begin with this character");
    started_ = true;
    begun_ = mark;
    anchors_.clear();
    root_ = nullptr;
    first_.reset();
  }
  void OnDocumentEnd() override {
    if (first_) documents.push_back({std::move(root_), *first_});
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { put(mark, nullptr, anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) halt(mark, "this alias refers to a value that contains it");
    charge(mark, sizeOf(found->second));
    put(mark, found->second, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    // yaml-cpp treats the end of the file as the end of the quotes.
    if (isQuoted(mark) && !config::quoteEnds(places_.text(), static_cast<std::size_t>(mark.pos)))
      halt(mark, "malformed YAML: this quote is never closed", "add the closing quote");
    if (!open_.empty() && open_.back().value.is_object() && !open_.back().key) {
      open_.back().key = text;
      return;
    }
    const bool plain = (tag.empty() || tag == "?") && !isQuoted(mark);
    put(mark, plain ? resolved(text) : json::value(text), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(mark, json::array(), anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(mark, json::object(), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override {
    merge(open_.back().value.get_object());
    close();
  }

 private:
  struct Frame {
    json::value value;
    YAML::anchor_t anchor = 0;
    YAML::Mark mark;
    std::optional<std::string> key;
  };

  [[nodiscard]] config::Position position(const YAML::Mark& mark) const {
    const auto [line, column] = places_.of(mark.is_null() ? 0 : static_cast<std::size_t>(mark.pos));
    return {file_, line, column};
  }
  [[noreturn]] void halt(const YAML::Mark& mark, std::string what, std::string advice = {}) {
    problems_.add(position(mark), std::move(what), std::move(advice));
    throw Halt{};
  }
  void charge(const YAML::Mark& mark, std::size_t values) {
    values_ += values;
    if (values_ > kMaxValues) halt(mark, "there are more than " + std::to_string(kMaxValues) + " values");
  }
  [[nodiscard]] bool isQuoted(const YAML::Mark& mark) const {
    const auto at = static_cast<std::size_t>(mark.pos);
    return !mark.is_null() && at < places_.text().size() &&
           (places_.text()[at] == '"' || places_.text()[at] == '\'');
  }

  void open(const YAML::Mark& mark, json::value value, YAML::anchor_t anchor) {
    charge(mark, 1);
    if (open_.size() == kMaxNesting) halt(mark, "lists and mappings are nested too deep");
    if (!open_.empty() && open_.back().value.is_object() && !open_.back().key)
      halt(mark, "a key must be a string");
    if (!first_) first_ = position(mark);
    open_.push_back({std::move(value), anchor, mark, {}});
  }
  void close() {
    auto frame = std::move(open_.back());
    open_.pop_back();
    put(frame.mark, std::move(frame.value), frame.anchor);
  }
  void put(const YAML::Mark& mark, json::value value, YAML::anchor_t anchor) {
    charge(mark, 1);
    if (anchor != 0) anchors_.insert_or_assign(anchor, value);
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    auto& parent = open_.back();
    if (auto* const list = parent.value.if_array()) {
      list->push_back(std::move(value));
      return;
    }
    if (!parent.key) halt(mark, "a key must be a string");
    auto& map = parent.value.get_object();
    if (*parent.key != "<<" && map.contains(*parent.key))
      halt(mark, "key " + quoted(*parent.key) + " appears twice", "keep one of them");
    map[*parent.key] = std::move(value);
    parent.key.reset();
  }
  /// "<<": adds the keys of another mapping that this one does not have.
  static void merge(json::object& map) {
    const auto* const found = map.if_contains("<<");
    if (found == nullptr) return;
    const auto from = *found;
    map.erase("<<");
    const auto take = [&](const json::value& other) {
      if (const auto* const one = other.if_object()) {
        for (const auto& entry : *one) {
          if (!map.contains(entry.key())) map[entry.key()] = entry.value();
        }
      }
    };
    take(from);
    if (const auto* const list = from.if_array()) {
      for (const auto& one : *list) take(one);
    }
  }

  const std::string& file_;
  const config::TextPlaces& places_;
  config::Problems& problems_;
  bool started_ = false;
  YAML::Mark begun_ = YAML::Mark::null_mark();
  std::size_t values_ = 0;
  json::value root_;
  std::optional<config::Position> first_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, json::value> anchors_;
};

void add(json::value value, const config::Position& where, std::vector<Manifest>& out,
         config::Problems& problems) {
  auto* const object = value.if_object();
  if (object == nullptr) {
    problems.add(where, "is not a Kubernetes object", "an object has apiVersion, kind and metadata");
    return;
  }
  const auto* const kind = object->if_contains("kind");
  const auto* const items = object->if_contains("items");
  const bool isList = kind != nullptr && kind->is_string() && kind->get_string().ends_with("List");
  if (!isList || items == nullptr || !items->is_array()) {
    out.push_back({std::move(*object), where});
    return;
  }
  for (auto& one : object->at("items").get_array()) add(std::move(one), where, out, problems);
}

bool readJson(std::string_view text, const config::Position& where, std::vector<Manifest>& out,
              config::Problems& problems) {
  json::parse_options options;
  options.max_depth = kMaxNesting;
  json::error_code error;
  auto value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return false;
  add(std::move(value), where, out, problems);
  return true;
}

}  // namespace

void readManifests(const std::string& file, std::string_view text, std::vector<Manifest>& out,
                   config::Problems& problems) {
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  const auto begin = trim(text);
  // kubectl's output for a whole cluster is JSON, which is read much faster than YAML.
  if (begin.starts_with('{') && readJson(text, {file, 1, 1}, out, problems)) return;
  const config::TextPlaces places(text);
  if (const auto fault = config::findFault(text)) {
    const auto [line, column] = places.of(fault->byte);
    problems.add({file, line, column}, fault->message, fault->suggestion);
    return;
  }
  Assembler assembler(file, places, problems);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(assembler)) {
    }
  } catch (const Halt&) {
    return;
  } catch (const YAML::Exception& error) {
    const auto [line, column] =
        places.of(error.mark.is_null() ? 0 : static_cast<std::size_t>(error.mark.pos));
    problems.add({file, line, column}, "malformed YAML: " + error.msg);
    return;
  }
  for (auto& one : assembler.documents) add(std::move(one.value), one.where, out, problems);
}

}  // namespace fallbackd::coverage
