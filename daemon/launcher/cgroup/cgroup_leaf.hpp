// SPDX-License-Identifier: Apache-2.0
// The cgroup of one fallback: a leaf "fallback-CONTAINER" below the pod's own cgroup, in every hierarchy
// where the pod has one and a leaf makes a difference. So the pod's limits apply, kubelet knows whose process
// it is, and the end of the pod ends it.
#pragma once

#include "config/model.hpp"
#include "launcher/cgroup/cgroup_trees.hpp"
#include "spawner/protocol.hpp"
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
  std::vector<LegacyLeaf> legacy;      // v1, where a leaf makes a difference: memory, CPU, pids
  std::vector<std::string> shared;     // v1, all others: the pod's own cgroup

  [[nodiscard]] bool empty() const { return !unified && legacy.empty(); }
};

/// Where the leaf with that name would be, even if the pod lacks a cgroup in some hierarchy. `parent` is
/// CRI's text.
Result<CgroupLeaf> leafBelow(const std::vector<sys::CgroupHierarchy>& hierarchies, const std::string& parent,
                             const std::string& name);

/// Creates the folder on v2 with the limits whose controllers are available, and opens it for the new
/// process, which is born in it. If the pod has no cgroup, `leaf` has none afterwards. Reason already_exists
/// if one is left over: call removeLeaf() first, so that no fallback ever runs twice.
Result<> makeUnifiedLeaf(const CgroupTrees& trees, CgroupLeaf& leaf, const config::Resources& resources,
                         LaunchOrder& order, LaunchFds& fds);

/// The same on v1, with cpusets, and the other cgroups that the process enters. Reason not_found if the pod
/// is not in any hierarchy.
Result<> makeLegacyLeaves(const CgroupTrees& trees, CgroupLeaf& leaf, const config::Resources& resources,
                          EntryFds& fds);

/// Sends SIGKILL to everything in the leaf, once. Skips paths that are not leaves of these trees.
void killLeaf(const CgroupTrees& trees, const std::vector<std::string>& paths);

/// Kills until the leaf is empty, then removes the folders; limited in time (reason timeout). A missing leaf
/// is fine. Reason unsafe_path if a path is not a leaf of these trees; the others are removed all the same.
boost::asio::awaitable<Result<>> removeLeaf(std::shared_ptr<const CgroupTrees> trees,
                                            std::vector<std::string> paths);

/// How often the kernel killed a process of the leaf because its memory was used up.
unsigned long long oomKillsIn(const std::vector<std::string>& paths);

std::vector<std::string> pathsOf(const CgroupLeaf& leaf);

}  // namespace fallbackd::launcher
