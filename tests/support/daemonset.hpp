// SPDX-License-Identifier: Apache-2.0
// What deploy/kustomize/base/daemonset.yaml asks for, as kubelet would ask the runtime for it. Read from the
// file, so that what the tests run and what is shipped cannot drift apart.
#pragma once

#include "base/error.hpp"
#include "pod.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// One container of a DaemonSet. Plain data: a test may take things away from it.
struct DaemonSet {
  std::string name;
  ContainerSpec container;               // without an image; configMap mounts are in its `mounts`
  std::vector<HostMount> host;           // the hostPath mounts
  std::vector<std::string> makeFolders;  // hostPath of type DirectoryOrCreate
  bool hostPid = false;
  bool hostNetwork = false;
  std::uint16_t probePort = 0;  // of livenessProbe and readinessProbe
  std::string livenessPath;
  std::string readinessPath;

  /// A pod of it, without the volumes' content.
  [[nodiscard]] PodSpec pod() const;
};

/// Anything in the file that this does not understand and that changes what the container may do is an error.
/// `list`: "containers" or "initContainers".
Result<DaemonSet> readDaemonSet(const std::filesystem::path& file, const std::string& list = "containers");

}  // namespace fallbackd::e2e
