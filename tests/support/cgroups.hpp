// SPDX-License-Identifier: Apache-2.0
// The machine's cgroup hierarchies as tests need them: v1, v2 or both, found in the mount table. Deliberately
// separate from the daemon's code: a test must not share the mistakes of the code that it tests.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::e2e {

struct CgroupHierarchy {
  std::filesystem::path mountPoint;
  std::string root;         // the cgroup that the mount point shows, as this process sees it
  std::string controllers;  // v1: "memory", "cpu,cpuacct", "name=systemd"; v2: empty
  bool unified = false;     // v2
};

/// Each mounted hierarchy once, in the order of /proc/self/mountinfo.
Result<std::vector<CgroupHierarchy>> cgroupHierarchies();

/// The folder of process `pid` in that hierarchy, read from /proc/PID/cgroup.
Result<std::filesystem::path> cgroupFolderOf(const CgroupHierarchy& hierarchy, pid_t pid);

/// Creates the folder and its parents. A v1 cpuset gets its parent's CPUs and memory nodes; without them no
/// process can enter it.
Result<> makeCgroup(const CgroupHierarchy& hierarchy, const std::filesystem::path& folder);

/// Every process in and below the folder.
std::vector<pid_t> cgroupProcesses(const std::filesystem::path& folder);

/// Sends SIGKILL to all below it, then removes it; the kernel needs a moment after the last process has
/// ended.
Result<> destroyCgroup(const std::filesystem::path& folder,
                       std::chrono::milliseconds deadline = std::chrono::seconds(10));

/// Writes one value to a cgroup file in a single write(2), as the kernel requires.
Result<> writeCgroupFile(const std::filesystem::path& file, const std::string& value);

}  // namespace fallbackd::e2e
