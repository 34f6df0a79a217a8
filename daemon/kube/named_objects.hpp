// SPDX-License-Identifier: Apache-2.0
// The ConfigMaps and Secrets from which a pod's variables get their values. Those that are only volumes are
// not included: kubelet has mounted them.
#pragma once

#include "kube/pod_spec.hpp"

#include <set>
#include <string>

namespace fallbackd::kube {

struct NamedObjects {
  std::set<std::string> configMaps;
  std::set<std::string> secrets;
  [[nodiscard]] bool empty() const { return configMaps.empty() && secrets.empty(); }
};

NamedObjects namedObjects(const Pod& pod);

}  // namespace fallbackd::kube
