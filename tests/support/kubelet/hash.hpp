// SPDX-License-Identifier: Apache-2.0
// The hash by which kubelet recognises that a container was made from the pod's current specification.
// Written from measurements (docs/kubelet.md), not with the daemon's code.
#pragma once

#include "kubelet/definition.hpp"

#include <string>

namespace fallbackd::e2e::model {

/// As in the annotation io.kubernetes.container.hash. Up to 1.30 kubelet's value covers the whole
/// specification in Go's representation; the model also covers the whole specification, but in its own
/// representation, so the values differ from kubelet's.
std::string containerHash(Version version, const ContainerSpec& spec);

}  // namespace fallbackd::e2e::model
