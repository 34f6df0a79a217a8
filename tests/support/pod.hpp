// SPDX-License-Identifier: Apache-2.0
// Pods as a test describes them, and the folders and cgroups that kubelet makes for them before it asks the
// runtime for a sandbox.
#pragma once

#include "base/error.hpp"
#include "cgroups.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e {

struct PodVolume {
  enum class Kind : std::uint8_t { config_map, secret, projected, downward_api, empty_dir };
  Kind kind = Kind::config_map;
  std::string name;
  std::map<std::string, std::string> files;  // key -> content; a key may hold folders ("a/b") in projected
};

struct PodSpec {
  std::string name;
  std::string namespaceName = "default";
  std::string uid;  // empty: a fresh one
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<PodVolume> volumes;
  bool hostNetwork = false;
  bool hostPid = false;
  bool sharePid = false;  // shareProcessNamespace: all containers are in the sandbox's
  std::uint32_t attempt = 0;
  std::string cgroupTop;  // "/node-b": where a node's tree begins that is only a part of the run's
};

struct VolumeMount {
  std::string volume;  // the name of a PodVolume
  std::string mountPath;
  bool readOnly = true;
};

/// A folder or file of the node in a container.
struct HostMount {
  std::string hostPath;
  std::string mountPath;
  bool readOnly = false;
  bool hostToContainer = false;  // mounts that come later are seen inside
};

/// What a container's securityContext says.
struct SecurityContext {
  std::vector<std::string> addCapabilities;
  std::vector<std::string> dropCapabilities;
  bool readOnlyRoot = false;
  bool noNewPrivileges = false;
  bool seccompUnconfined = false;  // else the runtime's default filter
  std::optional<std::int64_t> runAsGroup;
};

struct ContainerSpec {
  std::string name;
  std::string image;
  std::vector<std::string> command;  // empty: the image's entrypoint
  std::vector<std::string> args;
  std::map<std::string, std::string> env;
  std::vector<VolumeMount> mounts;
  std::vector<HostMount> hostMounts;
  std::optional<std::int64_t> runAsUser;
  std::int64_t memoryBytes = 0;  // 0: no limit
  std::int64_t cpuMillis = 0;
  std::int64_t oomScoreAdj = 0;
  std::optional<SecurityContext> security;
  std::uint32_t attempt = 0;
};

/// A random version 4 UUID.
std::string makeUid();

/// "kubernetes.io~configmap" and so on, the folder of the volume's plugin below volumes/.
std::string volumePluginFolder(PodVolume::Kind kind);

/// Writes the volume below `podFolder`: content in a folder with a time's name, ..data pointing to it, each
/// file a symlink through ..data. Called again it swaps ..data in one rename, as an updated ConfigMap does.
/// Secrets and tokens are on a tmpfs of their own, as kubelet has them.
Result<> writeVolume(const std::filesystem::path& podFolder, const PodVolume& volume);

/// A folder and all below it, by its name below its parent, which must be ours; never across a mount.
Result<> removeFolder(const std::filesystem::path& folder);

/// The pod's folder with all volumes, unmounted and removed.
Result<> removePodFolder(const std::filesystem::path& podFolder);

/// The pod's cgroup, in every hierarchy, with cgroupfs names: TOP/kubepods/burstable/podUID.
std::string podCgroup(const std::string& uid, const std::string& top = "");
Result<std::vector<std::filesystem::path>> makePodCgroup(const std::string& uid, const std::string& top = "");

}  // namespace fallbackd::e2e
