// SPDX-License-Identifier: Apache-2.0
// What is known besides a pod's specification. Nothing in it is required: what is missing is reported as not
// inherited.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::kube {

/// Contents of ConfigMaps or Secrets of the pod's namespace, by name. An object that is not listed is not
/// known; one without content is known not to exist.
using ObjectContents = std::map<std::string, std::optional<std::map<std::string, std::string>>>;

struct Facts {
  std::vector<std::string> podIps;   // of the sandbox, primary first; empty: those of the pod's status
  std::vector<std::string> hostIps;  // of the node; empty: those of the pod's status
  /// What the node can allocate, as in its status: "cpu", "memory", "ephemeral-storage".
  std::map<std::string, std::string> allocatable;
  ObjectContents configMaps;
  ObjectContents secrets;
  /// Variables of the Services that the pod sees; absent: not known.
  std::optional<std::map<std::string, std::string>> serviceVariables;
  /// Names of the persistent volumes behind the pod's claims, by claim.
  std::map<std::string, std::string> persistentVolumes;
};

}  // namespace fallbackd::kube
