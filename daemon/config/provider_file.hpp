// SPDX-License-Identifier: Apache-2.0
// kubelet's CredentialProviderConfig (kubelet.config.k8s.io/v1): which programs provide credentials for which
// images. The cloud's node image writes the file; kubelet reads it at startup.
#pragma once

#include "config/problems.hpp"
#include "domain/image_pattern.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

struct CredentialProvider {
  std::string name;                       // of the program in binDir
  std::vector<ImagePattern> matchImages;  // any may match
  /// Used if an answer does not say how long it is valid.
  std::chrono::nanoseconds defaultCacheDuration{};
  std::vector<std::string> args;
  std::vector<std::string> env;  // NAME=VALUE
  /// tokenAttributes: the program needs a token of the pod's service account. The daemon has none, so it
  /// cannot run this program. kubelet's other programs are not affected.
  bool needsToken = false;
};

/// The apiVersions that requests and answers of the programs must name.
inline constexpr std::string_view kProviderApi = "credentialprovider.kubelet.k8s.io/v1";

/// The providers in the order of the file. Reports all problems, by line; if there are any, do not use the
/// result. Accepts any bytes. `file` is for messages.
std::vector<CredentialProvider> readProviderFile(const std::string& file, std::string_view text,
                                                 Problems& problems);

}  // namespace fallbackd::config
