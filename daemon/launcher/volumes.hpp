// The pod's volumes as kubelet mounted them, made ready to be moved into a fallback's root.
#pragma once

#include "config/model.hpp"
#include "launcher/protocol.hpp"
#include "sys/fd.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::launcher {

struct PreparedMounts {
  std::vector<MountTarget> targets;
  std::vector<sys::UniqueFd> trees;  // detached, one for each target

  void add(MountTarget target, sys::UniqueFd tree);
};

/// Resolves each volume below `kubeletPods`/UID/volumes without leaving it, and its sub-path without leaving
/// the volume: a symlink that leads out is refused (unsafe_path). All are nosuid and nodev; all but writable
/// emptyDirs are read-only, as kubelet has it. Stage rootfs; volume_missing names one that is not there.
Result<PreparedMounts> prepareVolumes(const std::string& kubeletPods, const std::string& podUid,
                                      std::vector<config::Volume> volumes);

/// The sandbox's /dev/shm.
Result<sys::UniqueFd> prepareShm(const std::string& path);

/// Without ".", "..", doubled and trailing slashes, by the text alone.
std::string normalizedPath(std::string_view path);

/// "/etc/app/" -> "/etc/app". Reason invalid for the root, /proc, /sys, /dev and anything below /proc and
/// /sys: there the fallback's own must be seen.
Result<std::string> normalMountPath(const std::string& path);

}  // namespace fallbackd::launcher
