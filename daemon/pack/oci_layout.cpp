// SPDX-License-Identifier: Apache-2.0
#include "pack/oci_layout.hpp"

#include "base/strings.hpp"
#include "cache/crypto.hpp"
#include "cache/elf.hpp"
#include "cache/json.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::pack {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxText = 1 << 20;
constexpr std::size_t kMaxLayers = 128;
constexpr int kMaxIndexDepth = 3;  // index.json, an image index for several systems, and one to spare
// In all indexes together. An image has one for each system that it is built for, and as many attestations.
constexpr std::size_t kMaxDescriptors = 512;
constexpr std::array<std::string_view, 2> kManifests{"application/vnd.oci.image.manifest.v1+json",
                                                     "application/vnd.docker.distribution.manifest.v2+json"};
constexpr std::array<std::string_view, 2> kIndexes{
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"};
constexpr std::array<std::string_view, 4> kLayers{
    "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip"};

constexpr std::string_view kTag = "org.opencontainers.image.ref.name";

std::string tagOfEntry(const json::value& descriptor) {
  const auto* const object = descriptor.if_object();
  const auto* const annotations = object == nullptr ? nullptr : object->if_contains("annotations");
  return annotations == nullptr || !annotations->is_object()
             ? std::string()
             : cache::stringAt(annotations->get_object(), kTag);
}

/// Keeps only the index's entries with this tag; without a tag, all of them.
Result<json::object> onlyTagged(json::object index, const std::string& tag, const std::string& what) {
  auto* const list = index.if_contains("manifests");
  if (tag.empty() || list == nullptr || !list->is_array()) return index;
  json::array kept;
  std::string others;
  for (const auto& one : list->get_array()) {
    const auto name = tagOfEntry(one);
    if (name == tag) {
      kept.push_back(one);
    } else if (!name.empty()) {
      others.append(others.empty() ? "" : ", ").append(name);
    }
  }
  if (kept.empty()) {
    return fail(Stage::cli, Reason::not_found,
                what + " has no image " + quoted(tag) + (others.empty() ? "" : "; it has " + others));
  }
  *list = std::move(kept);
  return index;
}

/// "; choose by its tag: layout:1.8.3, layout:1.8.4"
std::string tagsToChoose(const std::vector<json::value>& manifests, const std::string& what) {
  std::string text;
  for (const auto& one : manifests) {
    const auto tag = tagOfEntry(one);
    if (!tag.empty()) text.append(text.empty() ? "; choose by its tag: " : ", ").append(what + ":" + tag);
  }
  return text;
}

bool isOneOf(std::span<const std::string_view> list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

Result<json::object> parse(const std::string& text, const std::string& what) {
  auto value = cache::parseStrict(text, what);
  if (value && value->is_object()) return std::move(value->get_object());
  return fail(Stage::cli, Reason::invalid, value ? what + " is not an object" : value.error().context);
}

class Layout {
 public:
  Layout(const sys::DirFd& dir, const std::string& what) : dir_(dir), what_(what) {}

  Result<std::string> readFile(const std::string& name) const {
    FB_TRY(const auto file, sys::openBeneath(Stage::cli, dir_, name));
    return sys::readAll(Stage::cli, file, kMaxText, what_ + "/" + name);
  }

  Result<Layer> openBlob(const json::value& descriptor) const {
    const auto* object = descriptor.if_object();
    const auto digest = object == nullptr ? "" : cache::stringAt(*object, "digest");
    const auto* size = object == nullptr ? nullptr : object->if_contains("size");
    if (!digest.starts_with("sha256:") || !isSha256(digest.substr(7)) || size == nullptr || !size->is_int64())
      return fail(Stage::cli, Reason::invalid, what_ + " has a descriptor without sha256 digest and size");
    const auto name = "blobs/sha256/" + digest.substr(7);
    Layer layer{digest.substr(7), {}};
    FB_TRY(layer.blob, sys::openBeneath(Stage::cli, dir_, name));
    struct stat info {};
    if (::fstat(layer.blob.get(), &info) != 0) return failErrno(Stage::cli, "stat " + name);
    if (!S_ISREG(info.st_mode) || info.st_size != size->get_int64())
      return fail(Stage::cli, Reason::digest_mismatch,
                  what_ + "/" + name + " does not have the size in its descriptor");
    cache::Sha256 hash;
    std::vector<std::byte> buffer(1U << 20U);
    for (;;) {
      const ssize_t got = ::read(layer.blob.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failErrno(Stage::cli, "read " + name);
      if (got == 0) break;
      hash.update(std::span(buffer).first(static_cast<std::size_t>(got)));
    }
    if (toHex(hash.finish()) != layer.digest)
      return fail(Stage::cli, Reason::digest_mismatch, what_ + "/" + name + " does not match its digest");
    return layer;
  }

  Result<json::object> readBlob(const json::value& descriptor) const {
    FB_TRY(const auto blob, openBlob(descriptor));
    if (::lseek(blob.blob.get(), 0, SEEK_SET) != 0) return failErrno(Stage::cli, "rewind a blob");
    FB_TRY(const auto text, sys::readAll(Stage::cli, blob.blob, kMaxText, what_ + ": blob " + blob.digest));
    return parse(text, what_ + ": blob " + blob.digest);
  }

  /// Adds the descriptors of the manifests that are for this node, each once. Nothing is signed yet: a small
  /// layout could name the same few blobs many times, on each level.
  Result<> collect(const json::object& index, int depth, std::vector<json::value>& found) {
    const auto* list = index.if_contains("manifests");
    if (list == nullptr || !list->is_array() || depth > kMaxIndexDepth)
      return fail(Stage::cli, Reason::invalid,
                  what_ + " has an index without manifests, or with too many levels");
    descriptors_ += list->get_array().size();
    if (descriptors_ > kMaxDescriptors) {
      return fail(Stage::cli, Reason::too_large,
                  what_ + " names more than " + std::to_string(kMaxDescriptors) +
                      " images and indexes; choose one by its tag (" + what_ +
                      ":TAG), or copy that image alone");
    }
    for (const auto& descriptor : list->get_array()) FB_CHECK(collectOne(descriptor, depth, found));
    return {};
  }

 private:
  Result<> collectOne(const json::value& descriptor, int depth, std::vector<json::value>& found) {
    const auto* object = descriptor.if_object();
    if (object == nullptr)
      return fail(Stage::cli, Reason::invalid, what_ + ": a descriptor is not an object");
    const auto* platform = object->if_contains("platform");
    if (platform != nullptr && platform->is_object() &&
        (cache::stringAt(platform->get_object(), "os") != "linux" ||
         cache::stringAt(platform->get_object(), "architecture") != cache::nodeArchitecture())) {
      return {};
    }
    const auto type = cache::stringAt(*object, "mediaType");
    const bool isIndex = isOneOf(kIndexes, type);
    if (!isIndex && !isOneOf(kManifests, type)) return {};
    if (!visited_.insert(cache::stringAt(*object, "digest")).second) return {};
    if (!isIndex) {
      found.push_back(descriptor);
      return {};
    }
    FB_TRY(const auto below, readBlob(descriptor));
    return collect(below, depth + 1, found);
  }

  const sys::DirFd& dir_;
  const std::string& what_;
  std::size_t descriptors_ = 0;    // that collect() has seen
  std::set<std::string> visited_;  // their digests
};

}  // namespace

Result<std::vector<Layer>> openLayers(const sys::DirFd& dir, const std::string& what,
                                      const std::string& tag) {
  Layout layout(dir, what);
  FB_TRY(const auto version, layout.readFile("oci-layout"));
  FB_TRY(const auto head, parse(version, what + "/oci-layout"));
  if (!cache::stringAt(head, "imageLayoutVersion").starts_with("1."))
    return fail(Stage::cli, Reason::invalid, what + " is not an OCI image layout of version 1");
  FB_TRY(const auto text, layout.readFile("index.json"));
  FB_TRY(auto whole, parse(text, what + "/index.json"));
  FB_TRY(const auto index, onlyTagged(std::move(whole), tag, what));
  std::vector<json::value> manifests;
  FB_CHECK(layout.collect(index, 1, manifests));
  if (manifests.size() != 1) {
    return fail(Stage::cli, manifests.empty() ? Reason::arch_mismatch : Reason::invalid,
                what + " holds " + std::to_string(manifests.size()) + " images for linux/" +
                    std::string(cache::nodeArchitecture()) + "; exactly one is needed" +
                    tagsToChoose(manifests, what));
  }
  FB_TRY(const auto manifest, layout.readBlob(manifests.front()));
  const auto* list = manifest.if_contains("layers");
  if (list == nullptr || !list->is_array() || list->get_array().empty() ||
      list->get_array().size() > kMaxLayers)
    return fail(Stage::cli, Reason::invalid, what + ": the image has no layers, or too many");
  std::vector<Layer> layers;
  for (const auto& descriptor : list->get_array()) {
    const auto type = descriptor.is_object() ? cache::stringAt(descriptor.get_object(), "mediaType") : "";
    if (!isOneOf(kLayers, type))
      return fail(Stage::cli, Reason::invalid,
                  what + ": a layer of media type " + quoted(type) + " is not supported");
    FB_TRY(auto layer, layout.openBlob(descriptor));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace fallbackd::pack
