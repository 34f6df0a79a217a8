// SPDX-License-Identifier: Apache-2.0
// Patterns for images, as kubelet uses them: matchImages of a credential provider, and the keys of the
// credentials in a dockerconfigjson or in a provider's answer.
//
//   HOST[:PORT][/PATH]
//
// A * in a part of the host matches any characters of that part, but no dot: *.example.com matches
// a.example.com, not a.b.example.com. The port must be the same, or be absent in both. The path is a prefix
// of the repository's. Source: URLsMatch in kubelet's credentialprovider, 1.20 to 1.35.
#pragma once

#include "domain/image_reference.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd {

class ImagePattern {
 public:
  /// Drops a scheme before the host and /v1 or /v2 after it, because Docker writes them into its file. Stage
  /// config, reason invalid.
  static Result<ImagePattern> parse(std::string_view text);

  [[nodiscard]] bool matches(const ImageReference& reference) const;
  /// As it was written.
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  friend std::optional<std::size_t> bestMatch(std::span<const ImagePattern> patterns,
                                              const ImageReference& reference);
  ImagePattern() = default;
  [[nodiscard]] bool endsAtFolder(const ImageReference& reference) const;

  std::string text_;
  std::vector<std::string> hostParts_;
  std::string port_;
  std::string path_;  // empty, or begins with a slash
};

/// The most specific pattern: first, a path that ends where a folder of the repository ends; then the longest
/// path; then a host without *. Empty if none matches.
std::optional<std::size_t> bestMatch(std::span<const ImagePattern> patterns, const ImageReference& reference);

}  // namespace fallbackd
