// SPDX-License-Identifier: Apache-2.0
// Readers for the parts of a pod; pod_spec.cpp uses them.
#pragma once

#include "kube/fields.hpp"
#include "kube/pod_spec.hpp"

namespace fallbackd::kube {

Container readContainer(const Fields& fields);
SecurityContext readSecurityContext(const Fields& fields);
ResourceRequirements readResources(const Fields& fields);
PodVolume readPodVolume(const Fields& fields);

}  // namespace fallbackd::kube
