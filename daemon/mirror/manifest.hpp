// SPDX-License-Identifier: Apache-2.0
// Indexes and manifests of images, as registries and containerd's content store have them. Pure.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::mirror {

// Registries and containerd refuse larger ones.
inline constexpr std::int64_t kMaxManifestBytes = 4L << 20;

struct Platform {
  std::string os = "linux";
  std::string architecture;  // as Go names it: amd64, arm64
  std::string variant = {};  // v6 or v7 of arm
  /// The platform of this machine.
  static Platform own();
};

struct Descriptor {
  std::string mediaType;
  std::string digest;
  std::int64_t size = 0;
  std::string os;  // of an index's entry; empty if it does not say
  std::string architecture;
  std::string variant;
};

struct Manifest {
  enum class Kind : std::uint8_t { index, image };
  Kind kind = Kind::image;
  std::string mediaType;
  std::vector<Descriptor> manifests;  // of an index
  Descriptor config;                  // of an image
  std::vector<Descriptor> layers;
};

/// Reason invalid if it is neither an index nor a manifest of the OCI or Docker's second schema.
Result<Manifest> parseManifest(std::string_view text);

/// The entries of an index that run on the platform, in containerd's order: the best match first, then what
/// the processor can also run (arm/v7 before v6; 32 bits after 64), finally entries that name no platform.
std::vector<Descriptor> forPlatform(const Manifest& index, const Platform& platform);

/// "sha256:" and 64 hexadecimal digits.
bool isDigest(std::string_view text);

}  // namespace fallbackd::mirror
