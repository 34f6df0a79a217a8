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

  /// Null if no source has described the pod yet, or not in a way that can be read. Only a description of the
  /// sandbox's own pod: another pod's author can claim to be the mirror of its uid.
  [[nodiscard]] SpecPtr find(const std::string& podUid, const std::string& podNamespace,
                             const std::string& podName) const {
    auto spec = described(podUid);
    const bool isIt = spec != nullptr && spec->namespaceName == podNamespace && spec->name == podName;
    return isIt ? spec : nullptr;
  }
  /// What else is known about the pod: the contents of the ConfigMaps and Secrets that its variables name.
  [[nodiscard]] virtual kube::Facts facts(const std::string& podUid) const = 0;
  /// A container of the pod waits: sources that may know more about it should be asked now. Does not block.
  virtual void podWaits(const std::string& podUid) = 0;
  /// The last sandbox of the pod is gone. It may get another one, and wait again. Does not block.
  virtual void podGone(const std::string& podUid) = 0;

  /// For a node without sources.
  static PodSpecs& none();

 protected:
  [[nodiscard]] virtual SpecPtr described(const std::string& podUid) const = 0;
};

}  // namespace fallbackd::watcher
