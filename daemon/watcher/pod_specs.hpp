// SPDX-License-Identifier: Apache-2.0
// Pods as Kubernetes specifies them, as far as the node knows: containerd has no specification. Answers from
// memory at once. On the loop.
#pragma once

#include "kube/facts.hpp"
#include "kube/pod_spec.hpp"

#include <memory>
#include <string>

namespace fallbackd::watcher {

using SpecPtr = std::shared_ptr<const kube::Pod>;

class PodSpecs {
 public:
  PodSpecs() = default;
  PodSpecs(const PodSpecs&) = delete;
  PodSpecs& operator=(const PodSpecs&) = delete;
  virtual ~PodSpecs() = default;

  /// Null if nobody has described the pod yet, or in a way that cannot be read.
  [[nodiscard]] virtual SpecPtr find(const std::string& podUid) const = 0;
  /// What else is known of the pod: the contents of the ConfigMaps and Secrets that its variables name.
  [[nodiscard]] virtual kube::Facts facts(const std::string& podUid) const = 0;
  /// A container of the pod waits: whoever knows more of it should be asked now. Does not block.
  virtual void podWaits(const std::string& podUid) = 0;

  /// For a node that asks nobody.
  static PodSpecs& none();
};

}  // namespace fallbackd::watcher
