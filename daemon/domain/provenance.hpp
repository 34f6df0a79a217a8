// SPDX-License-Identifier: Apache-2.0
// Who named an image. This decides which pods a verdict about it may affect, and which credentials its pull
// may use.
#pragma once

#include <cstdint>
#include <string_view>

namespace fallbackd {

enum class Provenance : std::uint8_t {
  configuration,      // a workload in the operator's configuration
  pod_specification,  // the pod's specification, written by whoever may create the pod
  annotation,         // an annotation of the pod, likewise
};

std::string_view toString(Provenance provenance);

/// Whether a verdict about such an image counts for pods of every namespace.
constexpr bool speaksForTheNode(Provenance provenance) {
  return provenance == Provenance::configuration;
}

}  // namespace fallbackd
