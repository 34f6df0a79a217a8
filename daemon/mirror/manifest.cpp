// SPDX-License-Identifier: Apache-2.0
#include "mirror/manifest.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::mirror {

namespace {

namespace json = boost::json;

constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::size_t kMaxEntries = 1024;  // of an index, or layers

std::string textAt(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains({key.data(), key.size()});
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

Result<Descriptor> descriptorOf(const json::value& value) {
  const auto* object = value.if_object();
  if (object == nullptr) return fail(Stage::containerd, Reason::invalid, "a descriptor is not an object");
  Descriptor one;
  one.mediaType = textAt(*object, "mediaType");
  one.digest = textAt(*object, "digest");
  if (!isDigest(one.digest)) {
    return fail(Stage::containerd, Reason::invalid, "a descriptor has no sha256 digest");
  }
  if (const auto* size = object->if_contains("size"); size != nullptr && size->is_int64()) {
    one.size = size->get_int64();
  }
  const auto* platform = object->if_contains("platform");
  if (const auto* says = platform == nullptr ? nullptr : platform->if_object()) {
    one.os = textAt(*says, "os");
    one.architecture = textAt(*says, "architecture");
    one.variant = textAt(*says, "variant");
  }
  return one;
}

Result<std::vector<Descriptor>> descriptorsAt(const json::object& object, const char* key) {
  const auto* value = object.if_contains(key);
  const auto* array = value == nullptr ? nullptr : value->if_array();
  if (array == nullptr || array->size() > kMaxEntries) {
    return fail(Stage::containerd, Reason::invalid, std::string(key) + " is not a list of descriptors");
  }
  std::vector<Descriptor> all;
  for (const auto& one : *array) {
    FB_TRY(auto descriptor, descriptorOf(one));
    all.push_back(std::move(descriptor));
  }
  return all;
}

using Processor = std::pair<std::string, std::string>;  // architecture and variant

/// As containerd compares them: github.com/containerd/platforms, database.go.
Processor normalized(const std::string& architecture, const std::string& variant) {
  if (architecture == "amd64" && variant == "v1") return {architecture, ""};
  if (architecture == "arm64" && (variant == "v8" || variant == "8")) return {architecture, ""};
  if (architecture == "arm" && variant.empty()) return {architecture, "v7"};
  if (architecture == "arm" && !variant.starts_with('v')) return {architecture, "v" + variant};
  return {architecture, variant};
}

/// The same package, compare.go: what a node of the platform runs, the best first.
std::vector<Processor> preferences(const Platform& platform) {
  const auto own = normalized(platform.architecture, platform.variant);
  std::vector<Processor> all{own};
  if (own.first == "amd64") all.emplace_back("386", "");
  for (const char* variant : {"v8", "v7", "v6", "v5"}) {
    if (own.first == "arm64" || (own.first == "arm" && variant < own.second))
      all.emplace_back("arm", variant);
  }
  return all;
}

}  // namespace

Platform Platform::own() {
#if defined(__x86_64__)
  return {"linux", "amd64", ""};
#elif defined(__aarch64__)
  return {"linux", "arm64", ""};
#else
#error "name this architecture as Go does"
#endif
}

bool isDigest(std::string_view text) {
  constexpr std::string_view kAlgorithm = "sha256:";
  return text.starts_with(kAlgorithm) && isSha256(text.substr(kAlgorithm.size()));
}

Result<Manifest> parseManifest(std::string_view text) {
  if (text.size() > static_cast<std::size_t>(kMaxManifestBytes)) {
    return fail(Stage::containerd, Reason::invalid, "a manifest of more than 4 MiB");
  }
  boost::json::error_code error;
  const auto value = json::parse({text.data(), text.size()}, error);
  const auto* object = error ? nullptr : value.if_object();
  if (object == nullptr) return fail(Stage::containerd, Reason::invalid, "a manifest that is not JSON");
  Manifest manifest;
  manifest.mediaType = textAt(*object, "mediaType");
  const auto* config = object->if_contains("config");
  const bool image = manifest.mediaType == kOciManifest || manifest.mediaType == kDockerManifest ||
                     (manifest.mediaType.empty() && config != nullptr);
  if (!image && !manifest.mediaType.empty() && manifest.mediaType != kOciIndex &&
      manifest.mediaType != kDockerIndex) {
    return fail(Stage::containerd, Reason::invalid,
                "a manifest of type " + fallbackd::quoted(manifest.mediaType));
  }
  if (!image) {
    manifest.kind = Manifest::Kind::index;
    if (manifest.mediaType.empty()) manifest.mediaType = kOciIndex;
    FB_TRY(manifest.manifests, descriptorsAt(*object, "manifests"));
    return manifest;
  }
  if (manifest.mediaType.empty()) manifest.mediaType = kOciManifest;
  if (config == nullptr) return fail(Stage::containerd, Reason::invalid, "a manifest without config");
  FB_TRY(manifest.config, descriptorOf(*config));
  FB_TRY(manifest.layers, descriptorsAt(*object, "layers"));
  return manifest;
}

std::vector<Descriptor> forPlatform(const Manifest& index, const Platform& platform) {
  const auto wanted = preferences(platform);
  std::vector<std::pair<std::size_t, Descriptor>> ranked;
  for (const auto& one : index.manifests) {
    std::size_t rank = wanted.size();
    if (!one.os.empty() || !one.architecture.empty()) {
      const auto found = std::find(wanted.begin(), wanted.end(), normalized(one.architecture, one.variant));
      if (one.os != platform.os || found == wanted.end()) continue;
      rank = static_cast<std::size_t>(found - wanted.begin());
    }
    ranked.emplace_back(rank, one);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Descriptor> found;
  for (auto& [rank, one] : ranked) found.push_back(std::move(one));
  return found;
}

}  // namespace fallbackd::mirror
