// SPDX-License-Identifier: Apache-2.0
// How a container's fallback runs if only its binary is configured: by the pod's specification and by what
// the missing image would have given, combined as kubelet and the runtime would combine them. What the
// configuration sets (config::Workload::given) takes precedence over both, and the launcher's limits apply to
// all of them. What cannot be inherited is listed, never silently dropped.
//
// Pure: reads nothing but its arguments.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"
#include "domain/image_config.hpp"
#include "kube/facts.hpp"
#include "kube/not_inherited.hpp"
#include "kube/pod_spec.hpp"

#include <optional>
#include <string>
#include <vector>

namespace fallbackd::kube {

struct InheritRequest {
  const Pod& pod;
  std::string container;
  /// From the configuration, or one with its defaults for a binary that an annotation chose.
  const config::Workload& configured;
  const config::LauncherSettings& launcher;
  const Facts& facts;
  /// From the binary's attestation; absent: not recorded.
  std::optional<ImageConfig> image = {};
};

struct Inherited {
  config::Workload workload;
  NotInheritedList notInherited;
  /// Native sidecars that kubelet starts before the container. They do not end, so startAfter has only the
  /// other init containers.
  std::vector<std::string> sidecarsBefore;
};

/// Stage config: not_found for a container that the pod does not have; invalid for an init container that
/// must end, which a fallback cannot replace.
Result<Inherited> inherit(const InheritRequest& request);

/// Only what detection needs: the image, its pull policy, the restart policy, and which containers must have
/// ended before. Cheap, whatever the pod's author wrote.
Result<Inherited> inheritForDetection(const InheritRequest& request);

}  // namespace fallbackd::kube
