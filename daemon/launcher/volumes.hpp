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
  void append(PreparedMounts others);
};

/// Where the volumes of one pod are.
struct VolumeSource {
  std::string kubeletPods;
  std::string podUid;
  std::vector<std::string> allowedHostPaths;  // folders below which a hostPath volume may be
  const sys::UniqueFd* idMap = nullptr;       // the user namespace of a pod that has one
};

/// Resolves each volume below `kubeletPods`/UID/volumes without leaving it (a hostPath: without leaving the
/// allowed folder), and its sub-path without leaving the volume: a symlink that leads out is refused
/// (unsafe_path). All are nosuid and nodev. Read-only are those that say so, and ConfigMaps, Secrets,
/// projected and downward volumes always, as kubelet has it. Stage rootfs; volume_missing names one that is
/// not there.
Result<PreparedMounts> prepareVolumes(const VolumeSource& source, std::vector<config::Volume> volumes);

/// The content of a file at `path` inside one of the volumes, as it was read from the node; at most 64 KiB.
Result<std::string> readVolumeFile(const VolumeSource& source, const std::vector<config::Volume>& volumes,
                                   const std::string& path);

/// A file or folder of the node's own, read-only, for everybody to see at `target` (certificates, time
/// zones). Symlinks are followed: who may place it is root.
Result<sys::UniqueFd> prepareNodeFile(const std::string& path);

/// The sandbox's /dev/shm.
Result<sys::UniqueFd> prepareShm(const std::string& path);

/// Without ".", "..", doubled and trailing slashes, by the text alone.
std::string normalizedPath(std::string_view path);

/// "/etc/app/" -> "/etc/app". Reason invalid for the root, /proc, /sys, /dev and anything below /proc and
/// /sys: there the fallback's own must be seen.
Result<std::string> normalMountPath(const std::string& path);

}  // namespace fallbackd::launcher
