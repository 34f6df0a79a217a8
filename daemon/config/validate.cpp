// SPDX-License-Identifier: Apache-2.0
#include "config/validate.hpp"

#include "base/strings.hpp"

#include <algorithm>

namespace fallbackd::config {

bool overlap(const Match& left, const Match& right) {
  if (left.container != right.container) return false;
  if (left.namespaceName && right.namespaceName && *left.namespaceName != *right.namespaceName) return false;
  return std::none_of(left.labels.begin(), left.labels.end(), [&](const auto& wanted) {
    const auto other = right.labels.find(wanted.first);
    return other != right.labels.end() && other->second != wanted.second;
  });
}

namespace {

/// Two versions of one binary: the version that a pod requests decides between them.
bool areVersions(const Workload& left, const Workload& right) {
  return left.inheritance.on && right.inheritance.on &&
         left.inheritance.version == right.inheritance.version && left.binary.name == right.binary.name &&
         left.binary.version != right.binary.version;
}

}  // namespace

void compareWorkloads(const std::vector<RawWorkload>& workloads, Problems& problems) {
  if (workloads.size() > kMaxWorkloads) {
    problems.add(workloads[kMaxWorkloads].position,
                 "there are more than " + std::to_string(kMaxWorkloads) + " workloads",
                 "cover several pods with one match.labels");
    return;
  }
  for (std::size_t later = 1; later < workloads.size(); ++later) {
    for (std::size_t earlier = 0; earlier < later && !problems.full(); ++earlier) {
      const auto& a = workloads[earlier];
      const auto& b = workloads[later];
      if (a.named && b.named && a.workload.name == b.workload.name) {
        problems.add(
            b.position,
            "workload " + quoted(b.workload.name) + " is already defined at " + a.position.toString(),
            "give one of them another name, or remove it");
      }
      if (a.matchable && b.matchable && overlap(a.workload.match, b.workload.match) &&
          !areVersions(a.workload, b.workload)) {
        problems.add(b.matchPosition,
                     "workload " + quoted(b.workload.name) + " can cover the same container " +
                         quoted(b.workload.match.container) + " as workload " + quoted(a.workload.name) +
                         " at " + a.matchPosition.toString(),
                     "distinguish them by namespace or by the value of a common label; versions of one "
                     "binary may stand side by side if both take their image from the pod");
      }
    }
  }
}

}  // namespace fallbackd::config
