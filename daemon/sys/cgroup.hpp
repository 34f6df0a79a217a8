// SPDX-License-Identifier: Apache-2.0
// The machine's cgroup hierarchies, v1, v2 or both. Calls block briefly; stage cgroup.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace fallbackd::sys {

struct CgroupHierarchy {
  std::string mountPoint;
  std::string root;                      // the cgroup that the mount point shows; "/" unless in a container
  std::vector<std::string> controllers;  // v1: "memory", or "cpu" and "cpuacct", or "name=systemd"; v2: none
  bool unified = false;                  // v2

  [[nodiscard]] bool has(std::string_view controller) const;
  /// The path of cgroup `path` ("/kubepods/pod1") in the file system.
  [[nodiscard]] std::string folderOf(std::string_view path) const;
};

/// Each mounted hierarchy once, from the text of /proc/self/mountinfo.
std::vector<CgroupHierarchy> parseCgroupMounts(std::string_view mountInfo);
Result<std::vector<CgroupHierarchy>> cgroupHierarchies();

/// A cgroup of a process: "4:cpu,cpuacct:/kubepods/pod1", on v2 "0::/kubepods/pod1".
struct CgroupMembership {
  std::vector<std::string> controllers;  // none: v2
  std::string path;
};
/// One per hierarchy. Reason not_found if there is no such process.
Result<std::vector<CgroupMembership>> cgroupsOf(pid_t pid);

/// Returns "/kubepods/burstable/pod1" unchanged and expands systemd's "kubepods-burstable-pod1.slice" to
/// "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice". Reason invalid for any other
/// name, and for one that leads elsewhere.
Result<std::string> expandCgroupParent(std::string_view parent);

/// Writes one value with a single write(2), as the kernel requires.
Result<> writeCgroupFile(const std::string& path, std::string_view value);

/// The number after `key` in a file of "key number" lines (memory.events, memory.oom_control); 0 if the key
/// is missing.
unsigned long long readCgroupCounter(const std::string& path, std::string_view key);

/// In a container on a cgroup v2 node the runtime gives us our own cgroup namespace, and the kernel
/// moves no process across its border (mounts with nsdelegate, which systemd sets). Joins the cgroup
/// namespace of process 1, for the calling thread and the threads and processes that it creates. False if we
/// are already in it: on v1, without the host's process ids, or outside a container. Needs CAP_SYS_ADMIN and
/// CAP_SYS_PTRACE.
Result<bool> joinHostCgroupNamespace();

}  // namespace fallbackd::sys
