// SPDX-License-Identifier: Apache-2.0
// One daemon per node: two would start every fallback twice and kill each other's. They would compete for the
// tree of pods' cgroups, so that is what is locked: an empty cgroup of our own at the top of it, whatever run
// folder, configuration or network namespace a daemon uses. The cgroup stays behind; the lock ends with the
// process that holds it, however it ends. A node inside this one has its own tree. Blocks briefly; stage
// cgroup.
#pragma once

#include "base/error.hpp"
#include "sys/cgroup.hpp"
#include "sys/fd.hpp"

#include <string>
#include <utility>
#include <vector>

namespace fallbackd::launcher {

class NodeLock {
 public:
  /// What another daemon learns about the one that holds the node.
  struct Holder {
    std::string configFile;
    std::string runDir;
  };

  /// Reason already_exists if another daemon holds the node, with its process id and what it recorded.
  static Result<NodeLock> take(const std::vector<sys::CgroupHierarchy>& hierarchies, const Holder& self);

 private:
  explicit NodeLock(sys::DirFd folder) : folder_(std::move(folder)) {}
  sys::DirFd folder_;
};

}  // namespace fallbackd::launcher
