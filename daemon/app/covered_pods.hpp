// SPDX-License-Identifier: Apache-2.0
// For which pods it is worth requesting more than their specification.
#pragma once

#include "config/model.hpp"
#include "kube/pod_object.hpp"

namespace fallbackd::app {

/// Whether a workload, or an annotation that counts, may give one of the pod's containers a fallback that
/// takes its variables from the pod.
bool mayInherit(const config::Config& config, const kube::PodObject& pod);

}  // namespace fallbackd::app
