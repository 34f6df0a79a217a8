// SPDX-License-Identifier: Apache-2.0
// The downward API: fields of the pod and resources of its containers as values of variables.
#pragma once

#include "base/error.hpp"
#include "kube/facts.hpp"
#include "kube/pod_spec.hpp"

#include <string>

namespace fallbackd::kube {

/// The addresses of the pod and of its node, from the facts before those of the status.
const std::vector<std::string>& podAddresses(const Pod& pod, const Facts& facts);
const std::vector<std::string>& hostAddresses(const Pod& pod, const Facts& facts);

/// "metadata.name", "metadata.labels['x']", "status.podIP", ...: what the API accepts for variables. A label
/// or annotation that the pod does not have is the empty text. Stage config: invalid for another path,
/// not_found for one whose value is not known.
Result<std::string> fieldValue(const FieldRef& ref, const Pod& pod, const Facts& facts);

/// "limits.cpu", "requests.memory", ...: in units of the divisor, rounded up. A limit that is not set is what
/// the pod as a whole or the node has. The same errors.
Result<std::string> resourceValue(const ResourceFieldRef& ref, const Pod& pod, const Container& own,
                                  const Facts& facts);

}  // namespace fallbackd::kube
