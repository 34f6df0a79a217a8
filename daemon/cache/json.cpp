// SPDX-License-Identifier: Apache-2.0
#include "cache/json.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include <boost/json/basic_parser_impl.hpp>

namespace fallbackd::cache {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kNoLimit = static_cast<std::size_t>(-1) / 2;

/// Finds duplicate keys, which the ordinary parser silently merges (two readers could see two meanings), and
/// objects with too many keys.
class KeyChecker {
 public:
  // The parser's own limits are fixed by its type; each caller chooses ours.
  static constexpr std::size_t max_object_size = kNoLimit;
  static constexpr std::size_t max_array_size = 65536;
  static constexpr std::size_t max_key_size = 4096;
  static constexpr std::size_t max_string_size = kNoLimit;

  explicit KeyChecker(std::size_t maxEntries) : maxEntries_(maxEntries) {}

  bool doubled = false;
  bool tooMany = false;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t, json::error_code&) {
    keys_.pop_back();
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(std::size_t, json::error_code&) { return true; }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code& error) {
    key_.append(part.data(), part.size());
    doubled = !keys_.back().insert(key_).second;
    tooMany = keys_.back().size() > maxEntries_;
    if (doubled || tooMany) {
      error = json::error::exception;
      return false;
    }
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, json::error_code&) { return true; }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) { return true; }
  bool on_double(double, json::string_view, json::error_code&) { return true; }
  bool on_bool(bool, json::error_code&) { return true; }
  bool on_null(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  std::size_t maxEntries_;
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

tl::unexpected<Error> notStrict(const std::string& what, const std::string& why) {
  return fail(Stage::admission, Reason::attestation_malformed, what + " " + why);
}

}  // namespace

Result<json::value> parseStrict(std::string_view text, const std::string& what, const JsonLimits& limits) {
  const auto tooLarge = [&](std::size_t limit, const char* of) {
    return fail(Stage::admission, Reason::too_large, what + " has more than " + std::to_string(limit) + of);
  };
  if (text.size() > limits.bytes) return tooLarge(limits.bytes, " bytes");
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::basic_parser<KeyChecker> checker(options, limits.entries);
  json::error_code error;
  const std::size_t used = checker.write_some(false, text.data(), text.size(), error);
  if (checker.handler().doubled) return notStrict(what, "has a key twice in one object");
  if (checker.handler().tooMany) return tooLarge(limits.entries, " keys in one object");
  if (error) return notStrict(what, "is not valid JSON: " + error.message());
  const auto rest = text.substr(used);
  if (rest.find_first_not_of(" \t\r\n") != std::string_view::npos)
    return notStrict(what, "has bytes after its end");
  auto value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return notStrict(what, "is not valid JSON: " + error.message());
  return value;
}

std::string stringAt(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

Result<std::string> decodeBase64(std::string_view text, const std::string& what) {
  auto bytes = fallbackd::decodeBase64(text);
  if (!bytes) return notStrict(what, std::string(bytes.error()));
  return std::move(*bytes);
}

}  // namespace fallbackd::cache
