// SPDX-License-Identifier: Apache-2.0
// Patterns for images, as kubelet has them: matchImages of a credential provider, and the keys under which
// credentials stand in a dockerconfigjson or in a provider's answer.
//
//   HOST[:PORT][/PATH]
//
// A * in a part of the host stands for any characters of that part, never for a dot: *.example.com is
// a.example.com and not a.b.example.com. The port must be the same, or be absent in both. The path is the
// beginning of the repository's. Source: URLsMatch in kubelet's credentialprovider, 1.20 to 1.35.
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
  /// A scheme in front and /v1 or /v2 behind the host are left away, as Docker writes them into its file.
  /// Stage config, reason invalid.
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
  std::string path_;  // begins with a slash where it is not empty
};

/// The pattern that says most about the image: one whose path ends where a folder of the repository ends,
/// then the longest path, then a host without *. Empty where none matches.
std::optional<std::size_t> bestMatch(std::span<const ImagePattern> patterns, const ImageReference& reference);

}  // namespace fallbackd
