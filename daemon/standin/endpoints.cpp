// SPDX-License-Identifier: Apache-2.0
#include "standin/endpoints.hpp"

#include <algorithm>

namespace fallbackd::standin {

bool isLastEndpoint(const EndpointFacts& facts) {
  if (facts.ready == false) return false;  // nothing is routed to it
  if (facts.readyOnNode > 0) return false;
  if (std::max(facts.wanted.value_or(0), facts.onNode + 1) <= 1) return false;
  // Without its owner's answer, the pods of other nodes are not known, and only those of this node count.
  return !facts.ownerReady || *facts.ownerReady <= 1;
}

}  // namespace fallbackd::standin
