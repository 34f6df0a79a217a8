// SPDX-License-Identifier: Apache-2.0
// A run's traces outside its namespaces: a folder, and a cgroup in every hierarchy. Created before the run
// and removed after it; the next run removes what a killed run could not.
#pragma once

#include "base/error.hpp"
#include "cgroups.hpp"
#include "sys/fd.hpp"

#include <filesystem>
#include <vector>

namespace fallbackd::e2e {

class RunRemains {
 public:
  /// Cleans up after killed runs, then creates this run's folder and cgroups.
  static Result<RunRemains> make();

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  /// Puts the calling process into the run's cgroups. In a v2 tree with controllers, processes may only be in
  /// leaves, so call it again, as `leaf`, once the cgroup namespace has its root.
  [[nodiscard]] Result<> joinRoot() const;
  [[nodiscard]] Result<> joinLeaf() const;
  /// Called in a forked child: only the outer process holds the lock.
  void dropLock() { lock_.reset(); }
  /// Kills the processes in the cgroups, and removes the cgroups and the folder.
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
