// SPDX-License-Identifier: Apache-2.0
#include "watcher/credentials.hpp"

#include "sys/file.hpp"

#include <boost/json.hpp>

namespace fallbackd::watcher {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxBytes = 1 << 20;

std::string stringAt(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

/// "https://index.docker.io/v1/" -> "docker.io", "https://r.example.com/v2/" -> "r.example.com".
std::string placeOf(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  while (key.ends_with('/')) key.remove_suffix(1);
  for (const std::string_view version : {"/v1", "/v2"}) {
    if (key.ends_with(version)) key.remove_suffix(version.size());
  }
  return key == "index.docker.io" || key == "registry-1.docker.io" ? "docker.io" : std::string(key);
}

/// `place` is the registry's host, or a path on it that the repository is at or below.
bool holds(const std::string& place, const ImageReference& reference) {
  const auto& host = reference.host();
  if (place == host) return true;
  return place.starts_with(host + "/") && reference.isBelow(std::string_view(place).substr(host.size() + 1));
}

}  // namespace

Result<std::optional<cri::Credentials>> parseCredentials(std::string_view text,
                                                         const ImageReference& reference,
                                                         const std::string& file) {
  boost::system::error_code error;
  const auto document = json::parse({text.data(), text.size()}, error);
  const auto* root = error ? nullptr : document.if_object();
  const auto* value = root == nullptr ? nullptr : root->if_contains("auths");
  const auto* auths = value == nullptr ? nullptr : value->if_object();
  if (auths == nullptr) {
    return fail(Stage::detection, Reason::invalid,
                file + " is no dockerconfigjson: an object with \"auths\" is expected");
  }
  std::string best;
  const json::object* entry = nullptr;
  for (const auto& item : *auths) {
    const auto place = placeOf(item.key());
    if (!holds(place, reference) || !item.value().is_object() ||
        (entry != nullptr && place.size() <= best.size()))
      continue;
    best = place;
    entry = &item.value().as_object();
  }
  if (entry == nullptr) return std::nullopt;
  cri::Credentials found;
  found.username = stringAt(*entry, "username");
  found.password = stringAt(*entry, "password");
  found.auth = stringAt(*entry, "auth");
  found.identityToken = stringAt(*entry, "identitytoken");
  found.registryToken = stringAt(*entry, "registrytoken");
  return found;
}

Result<std::optional<cri::Credentials>> readCredentials(const std::string& file,
                                                        const ImageReference& reference) {
  FB_TRY(const auto text, sys::readFile(Stage::detection, file, kMaxBytes));
  return parseCredentials(text, reference, file);
}

}  // namespace fallbackd::watcher
