// SPDX-License-Identifier: Apache-2.0
// Which workloads cover a pod.
#pragma once

#include "config/model.hpp"
#include "cri/types.hpp"
#include "kube/pod_spec.hpp"
#include "watcher/pod_choices.hpp"

#include <cstddef>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

using WorkloadPtr = std::shared_ptr<const config::Workload>;  // keeps its whole Config alive

bool covers(const config::Match& match, const cri::Sandbox& sandbox);

/// Whether the pod is a Job's, by the labels that the Job controller puts on its pods, including those from
/// before Kubernetes 1.27.
bool isOfJob(const cri::Sandbox& sandbox);
/// The keys of these labels.
std::span<const std::string_view> jobLabels();

struct Covering {
  std::vector<WorkloadPtr> workloads;  // at most one for each container
  /// Workloads that take what they do not set from the pod's specification, which is not known. Several may
  /// be for one container: the specification decides between them.
  std::vector<WorkloadPtr> withoutSpec;
  /// Annotations that are not followed, each naming the pod; the last one counts those that are not named.
  std::vector<std::string> troubles;
  /// Workloads that would cover this pod of a Job if they set their restart policy.
  std::vector<WorkloadPtr> withoutPolicy;
  std::size_t refused = 0;  // annotations that are malformed or have no image
  std::size_t cutOff = 0;   // annotations beyond the number that a pod may have
};

/// Every workload that covers the pod. A pod of a Job is to run to its end once, so it is covered only by
/// workloads that set their restart policy. If the pod's namespace is allowed to, its annotations choose
/// another version of a workload's binary and its image. If the configuration has no workload for the
/// container, or one for another binary, they make one of the defaults: user, volumes, capabilities and the
/// rest are granted to a binary, not to whatever a pod puts in its place. `made`: containers that were made
/// in the pod; of the others, annotations may name kMaxChosenContainers. `spec`: the pod's specification,
/// null if it is not known.
Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox, const PodChoices& choices,
                      const std::set<std::string>& made, const kube::Pod* spec);

/// The same by the sandbox's own annotations, for a caller that names one of its containers.
Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox, const kube::Pod* spec);

/// The annotations that chose a workload's binary and image; none for one of the configuration's.
cri::Labels choiceOf(const config::Workload& workload);

bool annotationsCount(const config::Config& config, const std::string& podNamespace);

}  // namespace fallbackd::watcher
