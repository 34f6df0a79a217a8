// SPDX-License-Identifier: Apache-2.0
// Pods as described by a test, and the folders and cgroups that kubelet creates before it requests a sandbox
// from the runtime.
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
  std::map<std::string, std::string> files;  // key -> content; in projected volumes a key may contain folders
                                             // ("a/b")
};

struct PodSpec {
  std::string name;
  std::string namespaceName = "default";
  std::string uid;  // empty: a new one
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<PodVolume> volumes;
  bool hostNetwork = false;
  bool hostPid = false;
  bool sharePid = false;  // shareProcessNamespace: all containers share the sandbox's PID namespace
  std::uint32_t attempt = 0;
  bool slice = false;  // kubelet's systemd driver: systemd creates the pod's cgroup
  std::string
      cgroupTop;  // "/node-b": the root of this node's tree, if the node has only a part of the run's tree
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
  bool hostToContainer = false;  // later mounts are also visible inside
};

/// A volume of type image: containerd 2.1 and later mount it.
struct ImageMount {
  std::string image;  // already pulled
  std::string mountPath;
};

/// A container's securityContext.
struct SecurityContext {
  std::vector<std::string> addCapabilities;
  std::vector<std::string> dropCapabilities;
  bool readOnlyRoot = false;
  bool noNewPrivileges = false;
  bool seccompUnconfined = false;  // otherwise the runtime's default filter
  std::optional<std::int64_t> runAsGroup;
  std::vector<std::int64_t> supplementalGroups;
};

struct ContainerSpec {
  std::string name;
  std::string image;
  std::vector<std::string> command;  // empty: the image's entrypoint
  std::vector<std::string> args;
  std::map<std::string, std::string> env;
  std::vector<VolumeMount> mounts;
  std::vector<HostMount> hostMounts;
  std::vector<ImageMount> imageMounts;
  std::optional<std::int64_t> runAsUser;
  std::string runAsUsername;     // where the image names a user instead of a number
  std::string workingDir;        // empty: the image's
  std::string hosts;             // the pod's /etc/hosts; empty: a minimal one
  std::int64_t memoryBytes = 0;  // 0: no limit
  std::int64_t cpuMillis = 0;
  std::int64_t cpuShares = 0;  // 0: the runtime's default
  std::int64_t oomScoreAdj = 0;
  std::optional<SecurityContext> security;
  std::uint32_t attempt = 0;
  std::string logPath;  // below the pod's log directory; empty: NAME/ATTEMPT.log
  /// In addition to kubelet's own labels, or instead of them; an empty value removes the label.
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
};

/// A random version 4 UUID.
std::string makeUid();

/// "kubernetes.io~configmap" and so on: the folder of the volume's plugin below volumes/.
std::string volumePluginFolder(PodVolume::Kind kind);

/// Writes the volume below `podFolder`: content in a folder named by time, ..data pointing to it, each file a
/// symlink through ..data. A second call swaps ..data in one rename, as for an updated ConfigMap. Secrets and
/// tokens are on their own tmpfs, as with kubelet.
Result<> writeVolume(const std::filesystem::path& podFolder, const PodVolume& volume);

/// Removes a folder and everything below it, by its name in its parent, which must be ours. Never crosses a
/// mount.
Result<> removeFolder(const std::filesystem::path& folder);

/// Unmounts and removes the pod's folder with all volumes.
Result<> removePodFolder(const std::filesystem::path& podFolder);

/// The pod's cgroup, in every hierarchy, with cgroupfs names: TOP/kubepods/burstable/podUID.
std::string podCgroup(const std::string& uid, const std::string& top = "");
/// The same with the systemd driver: "kubepods-burstable-podUID.slice", UID with underscores.
std::string podSlice(const std::string& uid);
/// Creates it in every hierarchy. With the systemd driver the machine's systemd starts the slice.
Result<std::vector<std::filesystem::path>> makePodCgroup(const PodSpec& spec);
/// Removes it with all processes in it.
Result<> removePodCgroup(const PodSpec& spec, const std::vector<std::filesystem::path>& cgroups);

}  // namespace fallbackd::e2e
