// SPDX-License-Identifier: Apache-2.0
#include "kube/named_objects.hpp"

#include <variant>

namespace fallbackd::kube {

namespace {

void addNamed(NamedObjects& to, KeyRef::Kind kind, const std::string& name) {
  if (!name.empty()) (kind == KeyRef::Kind::secret ? to.secrets : to.configMaps).insert(name);
}

void addVariables(NamedObjects& to, const Container& container) {
  for (const auto& one : container.env) {
    const auto* const key = std::get_if<KeyRef>(&one.valueFrom);
    if (key != nullptr && one.value.empty()) addNamed(to, key->kind, key->name);
  }
  for (const auto& one : container.envFrom) {
    if (one.kind) addNamed(to, *one.kind, one.name);
  }
}

}  // namespace

NamedObjects namedObjects(const Pod& pod) {
  NamedObjects named;
  for (const auto& one : pod.containers) addVariables(named, one);
  for (const auto& one : pod.initContainers) {
    if (isSidecar(one)) addVariables(named, one);
  }
  return named;
}

}  // namespace fallbackd::kube
