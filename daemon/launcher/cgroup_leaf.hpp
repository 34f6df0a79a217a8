// The cgroup of one fallback: a leaf "fallback-CONTAINER" below the pod's own cgroup, in every hierarchy
// where the pod has one and a leaf makes a difference. So the pod's limits hold, kubelet knows whose it is,
// and the end of the pod ends it.
#pragma once

#include "config/model.hpp"
#include "launcher/cgroup_trees.hpp"
#include "launcher/protocol.hpp"
#include "sys/cgroup.hpp"

#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

struct LegacyLeaf {
  std::string path;
  std::vector<std::string> controllers;  // of its hierarchy
};
struct CgroupLeaf {
  std::string pod;                     // the pod's cgroup, below each hierarchy's root
  std::optional<std::string> unified;  // v2
  std::vector<LegacyLeaf> legacy;      // v1, where a leaf of its own is a difference: memory, CPU, pids
  std::vector<std::string> shared;     // v1, all others: the pod's own cgroup

  [[nodiscard]] bool empty() const { return !unified && legacy.empty(); }
};

/// Where the leaf of that name would be, whether or not the pod has a cgroup in every hierarchy. `parent` as
/// CRI gives it.
Result<CgroupLeaf> leafBelow(const std::vector<sys::CgroupHierarchy>& hierarchies, const std::string& parent,
                             const std::string& name);

/// Makes the folder on v2, with the limits whose controllers are there, and opens it for the new process, who
/// is born in it. Where the pod has no cgroup, `leaf` has none either afterwards. Reason already_exists where
/// one is left from before: removeLeaf() first, so that no fallback ever runs twice.
Result<> makeUnifiedLeaf(const CgroupTrees& trees, CgroupLeaf& leaf, const config::Resources& resources,
                         LaunchOrder& order, LaunchFds& fds);

/// The same on v1, with cpusets, and the rest of what the process enters. Reason not_found where the pod is
/// in no hierarchy at all.
Result<> makeLegacyLeaves(const CgroupTrees& trees, CgroupLeaf& leaf, const config::Resources& resources,
                          EntryFds& fds);

/// SIGKILL to everything in the leaf, once. Paths that are not leaves of these trees are passed over.
void killLeaf(const CgroupTrees& trees, const std::vector<std::string>& paths);

/// Kills until nobody is left, then removes the folders; bounded in time (reason timeout). Absent is fine.
/// Reason unsafe_path where one is not a leaf of these trees: the others are removed all the same.
boost::asio::awaitable<Result<>> removeLeaf(std::shared_ptr<const CgroupTrees> trees,
                                            std::vector<std::string> paths);

/// How often the kernel ended a process of the leaf because its memory was used up.
unsigned long long oomKillsIn(const std::vector<std::string>& paths);

std::vector<std::string> pathsOf(const CgroupLeaf& leaf);

}  // namespace fallbackd::launcher
