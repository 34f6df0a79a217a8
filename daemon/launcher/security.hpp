// What confines a fallback, as the spawner is to set it: capabilities, filter, labels, limits.
#pragma once

#include "launcher/labels.hpp"
#include "launcher/launcher.hpp"
#include "launcher/protocol.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// One thread. Compiled default filters are kept: a launch reuses them.
class Confinement {
 public:
  explicit Confinement(std::string seccompProfiles, KernelFolders kernel = {})
      : profiles_(std::move(seccompProfiles)), kernel_(std::move(kernel)) {}

  /// Makes the filter that nearly all fallbacks get. Some milliseconds.
  Result<> prepare();
  /// Fills the order. A Localhost profile is read anew each time. Stage identity; what could not be had and
  /// is no reason to refuse goes into `notes`.
  Result<> apply(const LaunchRequest& request, LaunchOrder& order, std::vector<std::string>& notes);

 private:
  Result<std::string> filter(const config::Security& security);

  std::string profiles_;
  KernelFolders kernel_;
  std::map<std::uint64_t, std::string> defaults_;  // by capabilities
};

}  // namespace fallbackd::launcher
