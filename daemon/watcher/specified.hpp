// SPDX-License-Identifier: Apache-2.0
// What detection takes from a pod's specification for workloads that inherit: the image, and when kubelet
// would pull it. A recovery inherits the rest at its launch. Pure.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"
#include "kube/pod_spec.hpp"
#include "kube/version_match.hpp"
#include "watcher/match.hpp"

#include <span>

namespace fallbackd::watcher {

/// The workload with the pod's image, pull policy, restart policy and init containers, as far as it does not
/// set them itself. Stage config: the container is not in the specification or cannot be replaced, or its
/// image is not a reference.
Result<WorkloadPtr> specified(const config::Config& config, const config::Workload& workload,
                              const kube::Pod& spec);

/// Whether the workload's binary is the version that the pod asks for, by the workload's rule.
kube::VersionVerdict versionVerdict(const config::Workload& workload, const kube::Pod& spec);

/// Chooses, among the workloads for one container (at least one), the one whose binary the pod asks for; the
/// first one if it asks for none of them.
WorkloadPtr askedFor(std::span<const WorkloadPtr> candidates, const kube::Pod& spec);

}  // namespace fallbackd::watcher
