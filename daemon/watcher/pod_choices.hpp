// SPDX-License-Identifier: Apache-2.0
// What the author of a pod asks for by annotations: fallbackd.io/binary.CONTAINER and
// fallbackd.io/image.CONTAINER. Anyone who may create a pod can write them, so they are data: read once,
// bounded, and refused if malformed. Nothing of a refused one is used.
#pragma once

#include "cri/types.hpp"
#include "domain/binary_ref.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

inline constexpr std::string_view kBinaryAnnotation = "fallbackd.io/binary.";
inline constexpr std::string_view kImageAnnotation = "fallbackd.io/image.";

/// How many containers of a pod may wait for images that annotations name.
inline constexpr std::size_t kMaxChosenContainers = 16;

struct PodChoices {
  struct Choice {
    std::string container;  // a name that Kubernetes accepts
    BinaryRef binary;
    std::string image;  // accepted by ImageReference; empty: that of the workload
  };
  /// In the order of their containers' names. More than may wait, since containers that exist in the pod do
  /// not wait.
  std::vector<Choice> choices;
  std::vector<std::string> refusals;  // the first few in words, each naming its annotation
  std::size_t refused = 0;            // all of them
  std::size_t cutOff = 0;             // well-formed ones that were not kept
};

PodChoices readChoices(const cri::Labels& annotations);

}  // namespace fallbackd::watcher
