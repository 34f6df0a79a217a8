// SPDX-License-Identifier: Apache-2.0
// What deploy/kustomize/base/daemonset.yaml requests, as kubelet would request it from the runtime. Read from
// the file, so that tests run what is shipped.
#pragma once

#include "base/error.hpp"
#include "pod.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// One container of a DaemonSet. Plain data: a test may remove parts of it.
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

  /// A pod of the DaemonSet, without the volumes' content.
  [[nodiscard]] PodSpec pod() const;
};

/// Unknown keys that affect the container's rights are errors. `list`: "containers" or "initContainers".
Result<DaemonSet> readDaemonSet(const std::filesystem::path& file, const std::string& list = "containers");

}  // namespace fallbackd::e2e
