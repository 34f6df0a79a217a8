// SPDX-License-Identifier: Apache-2.0
// kubelet's CredentialProviderConfig (kubelet.config.k8s.io/v1): which programs give credentials for which
// images. The cloud's node image writes the file; kubelet reads it at its start.
#pragma once

#include "config/problems.hpp"
#include "domain/image_pattern.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

struct CredentialProvider {
  std::string name;                       // of the program, in the folder of programs
  std::vector<ImagePattern> matchImages;  // any of them
  /// For an answer that does not say how long it holds.
  std::chrono::nanoseconds defaultCacheDuration{};
  std::vector<std::string> args;
  std::vector<std::string> env;  // NAME=VALUE
  /// tokenAttributes: the program needs a token of the pod's service account. The daemon has none, so it
  /// cannot run this program. kubelet's other programs are not affected.
  bool needsToken = false;
};

/// What requests and answers of the programs must name as their apiVersion.
inline constexpr std::string_view kProviderApi = "credentialprovider.kubelet.k8s.io/v1";

/// The providers in the order of the file. Reports everything that is wrong, by line; then the result is of
/// no use. Any text at all may be given. `file` is for messages.
std::vector<CredentialProvider> readProviderFile(const std::string& file, std::string_view text,
                                                 Problems& problems);

}  // namespace fallbackd::config
