// One node, one daemon. Two would start every fallback twice and end each other's. What they would fight
// about is the tree of pods' cgroups, so that is what is locked: a folder of our own at the top of it,
// whatever run folder, configuration or network namespace a daemon has. It is an empty cgroup that stays
// behind; the lock itself ends with the process that holds it, however it ends. A node inside this one has a
// tree of its own. Blocks briefly; stage cgroup.
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
  /// What another daemon is told of the one that has the node.
  struct Holder {
    std::string configFile;
    std::string runDir;
  };

  /// Reason already_exists where another daemon has the node: with its process id and what it said of itself.
  static Result<NodeLock> take(const std::vector<sys::CgroupHierarchy>& hierarchies, const Holder& self);

 private:
  explicit NodeLock(sys::DirFd folder) : folder_(std::move(folder)) {}
  sys::DirFd folder_;
};

}  // namespace fallbackd::launcher
