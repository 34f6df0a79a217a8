// SPDX-License-Identifier: Apache-2.0
// Where launches leave traces: cgroup leaves and folders of FIFOs. Everything that is killed by its cgroup or
// removed is below these. One io_context thread.
#pragma once

#include "launcher/cgroup/cgroup_trees.hpp"
#include "launcher/logs/fifo_folders.hpp"

#include <memory>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

struct Grounds {
  std::shared_ptr<const CgroupTrees> cgroups;
  std::shared_ptr<const FifoFolders> fifos;
};

/// [0-9a-z-], at most 128: it becomes the name of a folder.
bool safeId(const std::string& id);

/// Removes what a failed launch left in file systems. `recoveryId` is empty if it had no FIFOs yet.
boost::asio::awaitable<void> removeRemains(Grounds grounds, std::vector<std::string> leaves,
                                           std::string recoveryId);

}  // namespace fallbackd::launcher
