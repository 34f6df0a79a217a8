// SPDX-License-Identifier: Apache-2.0
#include "watcher/provider_protocol.hpp"

#include "base/clock.hpp"
#include "config/provider_file.hpp"

#include <algorithm>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::watcher {

namespace {

namespace json = boost::json;

constexpr std::string_view kRequestKind = "CredentialProviderRequest";
constexpr std::string_view kResponseKind = "CredentialProviderResponse";
constexpr std::chrono::nanoseconds kMaxCacheDuration = std::chrono::hours(24 * 3650);

tl::unexpected<Error> malformedAnswer(const std::string& what) {
  return fail(Stage::detection, Reason::protocol, "its answer is not a CredentialProviderResponse: " + what);
}

/// Null where the key is absent, or its value null.
const json::value* valueAt(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

/// Empty where the key is absent, or its value is not a text.
std::string_view textAt(const json::object& object, std::string_view key) {
  const auto* value = valueAt(object, key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string_view() : std::string_view(*text);
}

std::optional<CacheKeyType> keyTypeOf(std::string_view text) {
  if (text == "Image") return CacheKeyType::image;
  if (text == "Registry") return CacheKeyType::registry;
  if (text == "Global") return CacheKeyType::global;
  return std::nullopt;
}

}  // namespace

std::string cacheKeyOf(CacheKeyType type, const ImageReference& reference) {
  switch (type) {
    case CacheKeyType::image:
      return reference.repository();
    case CacheKeyType::registry:
      return reference.host();
    case CacheKeyType::global:
      break;
  }
  return {};
}

std::optional<cri::Credentials> ProviderAnswer::credentialsFor(const ImageReference& reference) const {
  std::vector<ImagePattern> patterns;
  patterns.reserve(auth.size());
  for (const auto& entry : auth) patterns.push_back(entry.pattern);
  const auto best = bestMatch(patterns, reference);
  return best ? std::optional(auth[*best].credentials) : std::nullopt;
}

std::string providerRequest(const ImageReference& reference) {
  return json::serialize(json::object{
      {"kind", kRequestKind}, {"apiVersion", config::kProviderApi}, {"image", reference.repository()}});
}

Result<ProviderAnswer> parseProviderAnswer(std::string_view text) {
  boost::system::error_code error;
  const auto document = json::parse({text.data(), text.size()}, error);
  if (error || !document.is_object()) return malformedAnswer("it is not a JSON object");
  const auto& root = document.get_object();
  if (textAt(root, "kind") != kResponseKind) return malformedAnswer("kind differs");
  if (textAt(root, "apiVersion") != config::kProviderApi) {
    return malformedAnswer("apiVersion is not " + std::string(config::kProviderApi));
  }
  ProviderAnswer answer;
  const auto keyType = keyTypeOf(textAt(root, "cacheKeyType"));
  if (!keyType) return malformedAnswer("cacheKeyType is not Image, Registry or Global");
  answer.keyType = *keyType;
  if (valueAt(root, "cacheDuration") != nullptr) {
    const auto duration = parseDuration(textAt(root, "cacheDuration"));
    if (!duration) return malformedAnswer("cacheDuration is not a duration");
    answer.cacheDuration = std::min(*duration, kMaxCacheDuration);
  }
  const auto* auth = valueAt(root, "auth");
  if (auth == nullptr) return answer;  // it has no credentials for this image
  if (!auth->is_object()) return malformedAnswer("auth is not an object");
  for (const auto& item : auth->get_object()) {
    if (!item.value().is_object()) return malformedAnswer("auth has an entry that is not an object");
    auto pattern = ImagePattern::parse({item.key().data(), item.key().size()});
    const auto& entry = item.value().get_object();
    cri::Credentials credentials;
    credentials.username = textAt(entry, "username");
    credentials.password = textAt(entry, "password");
    // kubelet passes over such entries, too.
    if (!pattern || (credentials.username.empty() && credentials.password.empty())) continue;
    answer.auth.push_back({std::move(*pattern), std::move(credentials)});
  }
  return answer;
}

}  // namespace fallbackd::watcher
