// The cgroup of one fallback: a leaf "fallback-CONTAINER" below the pod's own cgroup, in every hierarchy
// where the pod has one. So the pod's limits hold, kubelet knows whose it is, and the end of the pod ends it.
#pragma once

#include "config/model.hpp"
#include "launcher/protocol.hpp"
#include "sys/cgroup.hpp"

#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

struct LeafFolder {
  std::string path;
  bool unified = false;                  // v2
  std::vector<std::string> controllers;  // v1: of this hierarchy
};
using CgroupLeaf = std::vector<LeafFolder>;

std::string leafName(const std::string& container);

/// Where the leaf of that name is or would be. `parent` as CRI gives it. Stage cgroup; reason not_found
/// where no hierarchy knows the parent.
Result<CgroupLeaf> findLeaf(const std::vector<sys::CgroupHierarchy>& hierarchies, const std::string& parent,
                            const std::string& name);

/// Makes the folders, sets cpusets (v1) and the limits whose controllers are there. Reason already_exists
/// where one is left from before: removeLeaf() first, so that no fallback ever runs twice.
Result<> makeLeaf(const CgroupLeaf& leaf, const config::Resources& resources);

/// Adds what the new process needs to get into the leaf.
Result<> openLeaf(const CgroupLeaf& leaf, LaunchOrder& order, LaunchFds& fds);

/// SIGKILL to everything in the leaf, once.
void killLeaf(const std::vector<std::string>& paths);

/// Kills until nobody is left, then removes the folders; bounded in time (reason timeout). Absent is fine.
boost::asio::awaitable<Result<>> removeLeaf(std::vector<std::string> paths);

/// Every leaf of ours below pods' cgroups (kubepods, kubepods.slice), whoever made it. Reads the whole tree
/// of folders; for the start only.
std::vector<std::string> leavesBelow(const std::vector<sys::CgroupHierarchy>& hierarchies);

/// How often the kernel ended a process of the leaf because its memory was used up.
unsigned long long oomKillsIn(const std::vector<std::string>& paths);

std::vector<std::string> pathsOf(const CgroupLeaf& leaf);

}  // namespace fallbackd::launcher
