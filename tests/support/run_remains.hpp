// SPDX-License-Identifier: Apache-2.0
// What a run has outside of its namespaces: a folder and a cgroup in every hierarchy. Made before, removed
// after; what a killed run could not remove, the next run does.
#pragma once

#include "base/error.hpp"
#include "cgroups.hpp"
#include "sys/fd.hpp"

#include <filesystem>
#include <vector>

namespace fallbackd::e2e {

class RunRemains {
 public:
  /// Sweeps what killed runs left, then makes this run's folder and cgroups.
  static Result<RunRemains> make();

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  /// Puts the calling process into the run's cgroups. On a v2 tree with controllers processes may only be
  /// in leaves, so it has to be called again, as `leaf`, once the cgroup namespace has its root.
  [[nodiscard]] Result<> joinRoot() const;
  [[nodiscard]] Result<> joinLeaf() const;
  /// In a forked child: the lock belongs to the outer process alone.
  void dropLock() { lock_.reset(); }
  /// Kills what is in the cgroups, removes them and the folder.
  Result<> remove();

 private:
  struct RunCgroup {
    CgroupHierarchy hierarchy;
    std::filesystem::path folder;
  };
  Result<> makeCgroups();

  std::filesystem::path folder_;
  sys::UniqueFd lock_;  // flock on the folder: held as long as the run lives
  std::vector<RunCgroup> cgroups_;
};

}  // namespace fallbackd::e2e
