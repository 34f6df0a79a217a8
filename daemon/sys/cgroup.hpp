// The machine's cgroup hierarchies, v1, v2 or both at once. All calls block shortly; stage cgroup.
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
  /// Where the cgroup `path` ("/kubepods/pod1") is in the file system.
  [[nodiscard]] std::string folderOf(std::string_view path) const;
};

/// Each mounted hierarchy once, from the text of /proc/self/mountinfo.
std::vector<CgroupHierarchy> parseCgroupMounts(std::string_view mountInfo);
Result<std::vector<CgroupHierarchy>> cgroupHierarchies();

/// A cgroup that a process is in: "4:cpu,cpuacct:/kubepods/pod1", on v2 "0::/kubepods/pod1".
struct CgroupMembership {
  std::vector<std::string> controllers;  // none: v2
  std::string path;
};
/// One a hierarchy. Reason not_found where there is no such process.
Result<std::vector<CgroupMembership>> cgroupsOf(pid_t pid);

/// "/kubepods/burstable/pod1" as it is; systemd's "kubepods-burstable-pod1.slice" as the nested path
/// "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice". Reason invalid for a name that
/// is neither, or that leads out of its place.
Result<std::string> expandCgroupParent(std::string_view parent);

/// One value in a single write(2), as the kernel wants it.
Result<> writeCgroupFile(const std::string& path, std::string_view value);

/// The number beside `key` in a file of lines "key number" (memory.events, memory.oom_control); 0 where none
/// is.
unsigned long long readCgroupCounter(const std::string& path, std::string_view key);

/// In a container on a cgroup v2 node the runtime gives us a cgroup namespace of our own, and the kernel
/// moves no process across its border (mounts with nsdelegate, as systemd makes them). Joins the namespace of
/// process 1, for the calling thread and whoever it makes. False where that is ours already, as on v1,
/// without the host's process ids, or outside of a container. Needs CAP_SYS_ADMIN and CAP_SYS_PTRACE.
Result<bool> joinHostCgroupNamespace();

}  // namespace fallbackd::sys
