// SPDX-License-Identifier: Apache-2.0
#include "app/covered_pods.hpp"

#include "watcher/match.hpp"

#include <algorithm>

namespace fallbackd::app {

bool mayInherit(const config::Config& config, const kube::PodObject& pod) {
  cri::Sandbox sandbox;
  sandbox.podNamespace = pod.namespaceName;
  sandbox.podName = pod.name;
  sandbox.podUid = pod.uid;
  sandbox.labels = pod.labels;
  const auto& workloads = config.workloads;
  const bool covered = std::any_of(workloads.begin(), workloads.end(), [&](const auto& one) {
    return one.inheritance.on && watcher::covers(one.match, sandbox);
  });
  if (covered) return true;
  const auto choices = watcher::readChoices(pod.annotations).choices;
  return std::any_of(choices.begin(), choices.end(), [&](const auto& one) {
    return config.podAnnotations.allows(one.binary.name, pod.namespaceName);
  });
}

}  // namespace fallbackd::app
