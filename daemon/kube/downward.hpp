// SPDX-License-Identifier: Apache-2.0
// The downward API: fields of the pod and resources of its containers as values of variables.
#pragma once

#include "base/error.hpp"
#include "kube/facts.hpp"
#include "kube/pod_spec.hpp"

#include <string>

namespace fallbackd::kube {

/// The addresses of the pod and of its node; the facts take precedence over the status.
const std::vector<std::string>& podAddresses(const Pod& pod, const Facts& facts);
const std::vector<std::string>& hostAddresses(const Pod& pod, const Facts& facts);

/// "metadata.name", "metadata.labels['x']", "status.podIP", ...: what the API accepts for variables. A label
/// or annotation that the pod does not have gives an empty text. Stage config: invalid for any other path,
/// not_found if the value is not known.
Result<std::string> fieldValue(const FieldRef& ref, const Pod& pod, const Facts& facts);

/// "limits.cpu", "requests.memory", ...: in units of the divisor, rounded up. If the limit is not set, that
/// of the whole pod or what the node has counts. The same errors.
Result<std::string> resourceValue(const ResourceFieldRef& ref, const Pod& pod, const Container& own,
                                  const Facts& facts);

}  // namespace fallbackd::kube
