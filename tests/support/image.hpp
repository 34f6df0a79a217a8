// SPDX-License-Identifier: Apache-2.0
// Hand-made container images: one uncompressed layer, an OCI layout in a tar. No builder needed.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::e2e {

struct Image {
  std::string reference;                               // the name under which `ctr images import` stores it
  std::map<std::string, std::filesystem::path> files;  // path inside (no leading slash) -> file; mode 0755
  std::vector<std::string> entrypoint;
  std::vector<std::string> env;  // NAME=VALUE
  std::vector<std::string> cmd = {};
  std::string user = {};
  std::string workingDir = {};
};

/// What a registry serves for an image: the bytes, and the sha256 of each in hexadecimal.
struct ImageBlobs {
  std::string layer;
  std::string config;
  std::string manifest;
  std::string layerDigest;
  std::string configDigest;
  std::string manifestDigest;
  /// An index with this machine's manifest and a different platform's manifest, which does not exist.
  std::string index;
  std::string indexDigest;
};
Result<ImageBlobs> makeBlobs(const Image& image);

/// Writes the image as an OCI archive; the same input gives the same bytes. Blocks.
Result<> writeOciArchive(const Image& image, const std::filesystem::path& archive);

/// The image of a sandbox: only the pause program, as kSandboxImage.
inline constexpr const char* kSandboxImage = "localhost/fallbackd-e2e/pause:1";
Image pauseImage();

}  // namespace fallbackd::e2e
