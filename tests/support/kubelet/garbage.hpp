// SPDX-License-Identifier: Apache-2.0
// Kubelet's garbage collections, on demand.
#pragma once

#include "kubelet/container_logs.hpp"
#include "kubelet/runtime.hpp"

#include <set>
#include <string>

namespace fallbackd::e2e::model {

/// Removes ended containers: all but the newest of each name of a pod in `uids`. Returns how many.
int collectContainers(Kubelet& kubelet, const Runtime& runtime, const ContainerLogs& logs,
                      const std::set<std::string>& uids);

/// Removes images that no container uses, by their id and so with all of their names. Keeps the sandbox
/// image.
int collectImages(Kubelet& kubelet, const Runtime& runtime);

}  // namespace fallbackd::e2e::model
