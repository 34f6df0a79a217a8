// SPDX-License-Identifier: Apache-2.0
// What a container's fallback runs as, with nothing configured but its binary: the pod's specification and
// what the absent image would have given, as kubelet and the runtime would have put them together. What the
// configuration writes (config::Workload::given) outranks both, and the launcher's limits hold for all of
// them. What cannot be inherited is listed, never dropped in silence.
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
  /// As the configuration has it, or one of its defaults for a binary that an annotation chose.
  const config::Workload& configured;
  const config::LauncherSettings& launcher;
  const Facts& facts;
  /// Of the binary's attestation; absent: not recorded.
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
/// must end, whose place a fallback cannot take.
Result<Inherited> inherit(const InheritRequest& request);

/// Only what detection needs: the image, its pull policy, the restart policy, and what must have ended
/// before. Cheap, whatever the pod's author wrote.
Result<Inherited> inheritForDetection(const InheritRequest& request);

}  // namespace fallbackd::kube
