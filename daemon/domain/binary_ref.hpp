// SPDX-License-Identifier: Apache-2.0
// checkout@1.8.3: the name and version by which workloads refer to a binary, and its file names.
#pragma once

#include "base/error.hpp"

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd {

struct BinaryRef {
  std::string name;     // [a-z0-9] then [a-z0-9._-], at most 63 bytes
  std::string version;  // semantic version without "v": [0-9A-Za-z.+-], at most 64 bytes

  /// "checkout@1.8.3"
  [[nodiscard]] std::string toString() const { return name + "@" + version; }
  /// "checkout-v1.8.3", the file's name in the cache
  [[nodiscard]] std::string fileName() const { return name + "-v" + version; }
  /// "checkout-v1.8.3.sigstore.json", the attestation beside it
  [[nodiscard]] std::string attestationName() const { return fileName() + ".sigstore.json"; }

  friend auto operator<=>(const BinaryRef&, const BinaryRef&) = default;
};

/// Parses NAME@VERSION; the error says what is wrong with it. Stage: config.
Result<BinaryRef> parseBinaryRef(std::string_view text);

/// Parses NAME-vVERSION (the name of a cache file); empty for any other file name.
std::optional<BinaryRef> parseBinaryFileName(std::string_view fileName);

/// Order of two versions by the rules of Semantic Versioning 2.0 (numbers by value, a pre-release before its
/// release, build metadata ignored), extended to any number of dotted parts.
std::weak_ordering compareVersions(std::string_view left, std::string_view right);

/// The version in an image tag: "1.8.3" for "v1.8.3" and for "1.8.3"; empty if the tag is not a version
/// ("latest", "stable").
std::string_view versionOfTag(std::string_view tag);

/// Whether the version in an image tag is this one; empty if the tag is not a version.
std::optional<bool> sameVersion(std::string_view tag, std::string_view version);

/// Counts containers by whether their image's tag has the same version as a binary.
struct VersionSkew {
  std::size_t same = 0;
  std::size_t other = 0;
  std::size_t unknown = 0;  // no version in the tag
};

}  // namespace fallbackd
