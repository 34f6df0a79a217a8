// SPDX-License-Identifier: Apache-2.0
// The environment of a fallback: what a container of the pod would get, and what the workload adds.
#pragma once

#include "launcher/launcher.hpp"

#include <map>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// NAME=VALUE, sorted. Later sources override earlier ones: HOME, PATH, POD_NAME, POD_NAMESPACE, POD_IP,
/// NODE_NAME, HOSTNAME; on request the variables of the Service "kubernetes", which the daemon has from its
/// own pod; the workload's own; `fromFiles`, values read from files in its volumes.
std::vector<std::string> environment(const LaunchRequest& request,
                                     const std::map<std::string, std::string>& fromFiles,
                                     std::vector<std::string>& notes);

}  // namespace fallbackd::launcher
