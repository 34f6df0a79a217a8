// Who named an image: what a verdict about it may do to others, and which credentials may go with its pull.
#pragma once

#include <cstdint>
#include <string_view>

namespace fallbackd {

enum class Provenance : std::uint8_t {
  configuration,      // a workload of the operator's configuration
  pod_specification,  // the specification of the pod, as kubelet gives it
  annotation,         // an annotation of the pod: whoever may create the pod wrote it
};

std::string_view toString(Provenance provenance);

/// Whether a verdict about such an image may decide for pods of every namespace.
constexpr bool speaksForTheNode(Provenance provenance) {
  return provenance != Provenance::annotation;
}

}  // namespace fallbackd
