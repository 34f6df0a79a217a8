// SPDX-License-Identifier: Apache-2.0
// The pod's volumes as mounted by kubelet, prepared to be moved into a fallback's root.
#pragma once

#include "config/model.hpp"
#include "spawner/protocol.hpp"
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
/// allowed folder), and its sub-path without leaving the volume: refuses a symlink that leads out
/// (unsafe_path). All are nosuid and nodev. A volume is read-only if it says so; ConfigMaps, Secrets,
/// projected and downward volumes always are, as for kubelet. Stage rootfs; volume_missing names one that
/// does not exist.
Result<PreparedMounts> prepareVolumes(const VolumeSource& source, std::vector<config::Volume> volumes);

/// The content of a file at `path` inside one of the volumes, read on the node; at most 64 KiB.
Result<std::string> readVolumeFile(const VolumeSource& source, const std::vector<config::Volume>& volumes,
                                   const std::string& path);

/// A file or folder of the node itself, mounted read-only at `target` and readable by all users
/// (certificates, time zones). Follows symlinks: only root can place it.
Result<sys::UniqueFd> prepareNodeFile(const std::string& path);

/// The sandbox's /dev/shm.
Result<sys::UniqueFd> prepareShm(const std::string& path);

/// "/etc/app/" -> "/etc/app". Reason invalid for the root, /proc, /sys, /dev and anything below /proc and
/// /sys: there the fallback must see its own.
Result<std::string> normalMountPath(const std::string& path);

}  // namespace fallbackd::launcher
