#include "watcher/match.hpp"

#include <algorithm>

namespace fallbackd::watcher {

bool covers(const config::Match& match, const cri::Sandbox& sandbox) {
  if (match.namespaceName && *match.namespaceName != sandbox.podNamespace) return false;
  return std::all_of(match.labels.begin(), match.labels.end(), [&](const auto& wanted) {
    const auto found = sandbox.labels.find(wanted.first);
    return found != sandbox.labels.end() && found->second == wanted.second;
  });
}

std::vector<WorkloadPtr> workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox) {
  std::vector<WorkloadPtr> found;
  for (const auto& workload : config->workloads) {
    if (covers(workload.match, sandbox)) found.emplace_back(config, &workload);
  }
  return found;
}

}  // namespace fallbackd::watcher
