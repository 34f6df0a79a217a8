// SPDX-License-Identifier: Apache-2.0
#include "config/provider_file.hpp"

#include "base/strings.hpp"
#include "config/document.hpp"
#include "config/reader.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::string_view kConfigApi = "kubelet.config.k8s.io/v1";
constexpr std::string_view kConfigKind = "CredentialProviderConfig";
constexpr std::size_t kMaxProviders = 64;

/// A key with only one valid value.
void demand(const MapReader& map, std::string_view key, std::string_view wanted) {
  static_cast<void>(map.require(key, wanted));
  std::string text;
  if (map.read(key, text) && text != wanted) {
    map.problem(key, quoted(text) + " is not supported", "write " + std::string(wanted));
  }
}

/// The program is looked up in one folder and must not leave it.
bool isProgramName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/ \t\n") == std::string::npos;
}

void readMatchImages(const Place& place, std::vector<ImagePattern>& out) {
  eachItem(place, [&](const Place& item) {
    const auto text = scalar(item, "a pattern for images");
    if (!text) return;
    auto pattern = ImagePattern::parse(*text);
    if (pattern) {
      out.push_back(std::move(*pattern));
    } else {
      item.problem(pattern.error().context);
    }
  });
}

void readVariables(const Place& place, std::vector<std::string>& out) {
  eachItem(place, [&](const Place& item) {
    const MapReader map(item, {"name", "value"});
    if (!map.valid()) return;
    static_cast<void>(map.require("name", "AWS_REGION"));
    std::string name;
    std::string value;
    if (map.read("name", name) && (name.empty() || name.find('=') != std::string::npos)) {
      map.problem("name", quoted(name) + " is not the name of an environment variable");
    }
    if (const auto text = map.find("value")) value = scalar(*text, "a string").value_or("");
    out.push_back(name + "=" + value);
  });
}

CredentialProvider readProvider(const Place& place) {
  CredentialProvider out;
  const MapReader map(
      place, {"name", "matchImages", "defaultCacheDuration", "apiVersion", "args", "env", "tokenAttributes"});
  if (!map.valid()) return out;
  demand(map, "apiVersion", kProviderApi);
  static_cast<void>(map.require("name", "ecr-credential-provider"));
  if (map.read("name", out.name) && !isProgramName(out.name)) {
    map.problem("name", quoted(out.name) + " is not the name of a program in binDir",
                "write the file name, without a path");
  }
  static_cast<void>(map.require("defaultCacheDuration", "12h"));
  map.duration("defaultCacheDuration", out.defaultCacheDuration, true);
  if (const auto list = map.require("matchImages", "[\"*.registry.example.com\"]")) {
    readMatchImages(*list, out.matchImages);
    if (list->node->kind == Node::Kind::list && list->node->items.empty()) {
      map.problem("matchImages", "is empty, so the provider is never used", "name the images");
    }
  }
  map.read("args", out.args);
  if (const auto list = map.find("env")) readVariables(*list, out.env);
  out.needsToken = map.has("tokenAttributes");
  return out;
}

}  // namespace

std::vector<CredentialProvider> readProviderFile(const std::string& file, std::string_view text,
                                                 Problems& problems) {
  std::vector<CredentialProvider> providers;
  const auto document = parseDocument(file, text, problems);
  if (!document) return providers;
  const MapReader map({&*document, file, "", &problems}, {"apiVersion", "kind", "providers"});
  if (!map.valid()) return providers;
  demand(map, "apiVersion", kConfigApi);
  demand(map, "kind", kConfigKind);
  const auto list = map.require("providers", "[{name: ecr-credential-provider, ...}]");
  if (!list) return providers;
  eachItem(*list, [&](const Place& item) {
    auto provider = readProvider(item);
    if (std::any_of(providers.begin(), providers.end(),
                    [&](const auto& one) { return one.name == provider.name; })) {
      item.problem("provider " + quoted(provider.name) + " is named twice", "keep one of them");
    }
    providers.push_back(std::move(provider));
  });
  if (providers.size() > kMaxProviders) {
    list->problem("lists more than " + std::to_string(kMaxProviders) + " providers");
    providers.clear();
  }
  return providers;
}

}  // namespace fallbackd::config
