// SPDX-License-Identifier: Apache-2.0
// What is known about the endpoints of a pod's workload: the pods of its owner, and which of them are ready.
// Pure.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <optional>

namespace fallbackd::standin {

struct EndpointFacts {
  std::optional<bool> ready;               // this pod; absent: not known
  std::int64_t onNode = 0;                 // other pods of its owner on this node
  std::int64_t readyOnNode = 0;            // those of them that are ready
  std::optional<std::int64_t> wanted;      // by its owner, on all nodes; absent: not known
  std::optional<std::int64_t> ownerReady;  // of them ready, this one among them
  std::optional<Stamp> asOf;               // when its owner answered, even if it did not say; absent: not yet
};

/// Its owner wants several, and no other one is known to be ready.
bool isLastEndpoint(const EndpointFacts& facts);

}  // namespace fallbackd::standin
