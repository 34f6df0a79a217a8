// SPDX-License-Identifier: Apache-2.0
// What kubelet and an image credential provider say to each other: CredentialProviderRequest and
// CredentialProviderResponse of credentialprovider.kubelet.k8s.io/v1. Source: the Kubernetes API reference.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"
#include "domain/image_pattern.hpp"
#include "domain/image_reference.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

/// For which images an answer holds: this one, those of the same registry, or all that the provider serves.
enum class CacheKeyType : std::uint8_t { image, registry, global };

/// What an answer about `reference` is kept under. As in kubelet, an image is its repository, whatever
/// the tag.
std::string cacheKeyOf(CacheKeyType type, const ImageReference& reference);

struct ProviderAnswer {
  CacheKeyType keyType = CacheKeyType::image;
  std::optional<std::chrono::nanoseconds> cacheDuration;  // absent: the provider's default
  struct Entry {
    ImagePattern pattern;
    cri::Credentials credentials;
  };
  std::vector<Entry> auth;

  /// The credentials of the entry that fits best; nothing if none fits.
  [[nodiscard]] std::optional<cri::Credentials> credentialsFor(const ImageReference& reference) const;
};

/// The request. kubelet names the repository, without tag and digest.
std::string providerRequest(const ImageReference& reference);

/// Any bytes may be given. The error (stage detection, reason protocol) holds nothing of the text: there may
/// be passwords in it.
Result<ProviderAnswer> parseProviderAnswer(std::string_view text);

}  // namespace fallbackd::watcher
