// SPDX-License-Identifier: Apache-2.0
// The pods that Kubernetes objects create: each object's template as the pod that it will be.
#pragma once

#include "config/problems.hpp"
#include "coverage/manifests.hpp"
#include "kube/pod_spec.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::coverage {

struct Template {
  std::string kind;           // "Deployment"; "Pod" for a pod by itself
  std::string name;           // of the object
  std::string namespaceName;  // of the object; empty: it names none
  config::Position where;
  kube::Pod pod;
  /// Labels that all pods of the object have, whatever their revision.
  std::map<std::string, std::string> matchLabels;
  bool ofJob = false;
  /// What a token of the service account means for a pod that runs already, or is created later.
  bool asksForToken = false;  // it names a service account, or sets automountServiceAccountToken: true
  bool refusesToken = false;  // automountServiceAccountToken: false

  /// "Deployment checkout"
  [[nodiscard]] std::string owner() const { return kind + " " + name; }
};

struct Templates {
  std::vector<Template> all;
  std::vector<std::string> others;  // kinds of the objects that create no pods
  std::size_t owned = 0;            // left out: their owner is among the objects
};

/// `namespaceName`: for objects that name none, like kubectl's --namespace. An object that cannot be read is
/// a problem.
Templates templatesOf(const std::vector<Manifest>& manifests, const std::string& namespaceName,
                      config::Problems& problems);

}  // namespace fallbackd::coverage
