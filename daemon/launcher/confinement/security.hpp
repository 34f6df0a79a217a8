// SPDX-License-Identifier: Apache-2.0
// What confines a fallback, for the spawner to apply: capabilities, filter, labels, limits.
#pragma once

#include "launcher/confinement/labels.hpp"
#include "launcher/launcher.hpp"
#include "spawner/protocol.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// One thread. Caches compiled default filters: launches reuse them.
class Confinement {
 public:
  explicit Confinement(std::string seccompProfiles, KernelFolders kernel = {})
      : profiles_(std::move(seccompProfiles)), kernel_(std::move(kernel)) {}

  /// Compiles the filter that almost all fallbacks use. Takes a few milliseconds.
  Result<> prepare();
  /// Fills the order. A Localhost profile is read each time. Stage identity; what could not be applied but
  /// does not justify a refusal goes into `notes`.
  Result<> apply(const LaunchRequest& request, LaunchOrder& order, std::vector<std::string>& notes);

 private:
  Result<std::string> filter(const config::Security& security);

  std::string profiles_;
  KernelFolders kernel_;
  std::map<std::uint64_t, std::string> defaults_;  // by capabilities
};

}  // namespace fallbackd::launcher
