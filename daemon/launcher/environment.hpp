// The variables of a fallback: what a container of the pod would be told, and what the workload says.
#pragma once

#include "launcher/launcher.hpp"

#include <map>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// NAME=VALUE, sorted. The later of these counts: HOME, PATH, POD_NAME, POD_NAMESPACE, POD_IP, NODE_NAME,
/// HOSTNAME; on request the variables of the Service "kubernetes", which the daemon has from its own pod; the
/// workload's own; `fromFiles`, the values that files of its volumes hold.
std::vector<std::string> environment(const LaunchRequest& request,
                                     const std::map<std::string, std::string>& fromFiles,
                                     std::vector<std::string>& notes);

}  // namespace fallbackd::launcher
