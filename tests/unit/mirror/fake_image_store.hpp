// SPDX-License-Identifier: Apache-2.0
// A content store in memory, and images to put into it.
#pragma once

#include "cri/image_store.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <openssl/evp.h>

namespace fallbackd::test {

inline std::string digestOf(const std::string& text) {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  std::string hex = "sha256:";
  for (const auto byte : digest) {
    hex += "0123456789abcdef"[byte >> 4U];
    hex += "0123456789abcdef"[byte & 15U];
  }
  return hex;
}

class FakeImageStore final : public cri::ImageStore {
 public:
  static constexpr const char* kManifest = "application/vnd.oci.image.manifest.v1+json";
  static constexpr const char* kIndex = "application/vnd.oci.image.index.v1+json";

  Answer<cri::StoredImage> image(std::string name) override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "containerd");
    const auto found = images.find(name);
    if (found == images.end()) co_return fail(Stage::containerd, Reason::not_found, "image " + name);
    co_return found->second;
  }
  Answer<std::vector<cri::StoredImage>> ofRepository(std::string repository) override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "containerd");
    std::vector<cri::StoredImage> all;
    for (const auto& [name, image] : images) {
      if (name.starts_with(repository + ":") || name.starts_with(repository + "@")) all.push_back(image);
    }
    co_return all;
  }
  Answer<cri::StoredContent> content(std::string digest) override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "containerd");
    const auto found = blobs.find(digest);
    if (found == blobs.end()) co_return fail(Stage::containerd, Reason::not_found, "content " + digest);
    co_return cri::StoredContent{static_cast<std::int64_t>(found->second.size()), labels[digest]};
  }
  Answer<std::string> read(std::string digest, std::int64_t offset, std::int64_t size) override {
    ++calls;
    const auto found = blobs.find(digest);
    if (found == blobs.end()) co_return fail(Stage::containerd, Reason::not_found, "content " + digest);
    longestRead = std::max(longestRead, size);
    co_return found->second.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
  }
  Answer<bool> snapshotExists(std::string snapshotter, std::string key) override {
    ++calls;
    co_return snapshots.contains({snapshotter, key});
  }

  std::string put(const std::string& text) {
    auto digest = digestOf(text);
    blobs[digest] = text;
    return digest;
  }

  struct Parts {
    std::string manifest;
    std::string config;
    std::string layer;
  };
  /// Stores an image of one layer with all its content.
  Parts putImage(const std::string& about) { return putImageOf(about, "layer of " + about); }
  Parts putImageOf(const std::string& about, const std::string& layer) {
    Parts parts;
    parts.config = put("{\"config\": \"" + about + "\"}");
    parts.layer = put(layer);
    parts.manifest = put(R"({"schemaVersion": 2, "mediaType": ")" + std::string(kManifest) +
                         R"(", "config": {"digest": ")" + parts.config + R"("}, "layers": [{"digest": ")" +
                         parts.layer + R"("}]})");
    return parts;
  }
  void name(const std::string& name, const std::string& digest, const char* type = kManifest) {
    images[name] = {type, digest, static_cast<std::int64_t>(blobs[digest].size()), updatedAt};
  }
  /// Marks the image as unpacked, as containerd does.
  void unpack(const Parts& parts) {
    labels[parts.config]["containerd.io/gc.ref.snapshot.overlayfs"] = "sha256:chain";
    snapshots.insert({"overlayfs", "sha256:chain"});
  }
  /// Stores an index of two platforms; `own` is this machine's manifest.
  std::string putIndex(const std::string& architecture, const std::string& own, const std::string& other) {
    return put(R"({"schemaVersion": 2, "manifests": [{"digest": ")" + other +
               R"(", "platform": {"os": "linux", "architecture": "s390x"}}, {"digest": ")" + own +
               R"(", "platform": {"os": "linux", "architecture": ")" + architecture + R"("}}]})");
  }

  std::map<std::string, cri::StoredImage> images;
  std::map<std::string, std::string> blobs;
  std::map<std::string, std::map<std::string, std::string>> labels;
  std::set<std::pair<std::string, std::string>> snapshots;
  std::optional<Wall::time_point> updatedAt = Wall::time_point(std::chrono::hours(1000));
  bool down = false;
  unsigned calls = 0;
  std::int64_t longestRead = 0;
};

}  // namespace fallbackd::test
