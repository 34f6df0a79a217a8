// SPDX-License-Identifier: Apache-2.0
// What a fallback runs as: its workload, completed by the specification of its pod and by what the
// attestation of its binary records of the image. A workload that inherits nothing is complete as it is.
// Never waits.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"
#include "domain/image_config.hpp"
#include "kube/inherit.hpp"
#include "recovery/incident.hpp"
#include "watcher/match.hpp"
#include "watcher/pod_specs.hpp"

#include <optional>
#include <string>
#include <vector>

namespace fallbackd::recovery {

struct Effective {
  watcher::WorkloadPtr workload;
  std::vector<std::string> differs;  // what the fallback lacks of its container: "PATH: WHY"
};

/// What is known besides the pod's specification.
struct Setting {
  kube::Facts facts = {};
  const cri::SandboxStatus* sandbox = nullptr;  // null: not known yet
  std::optional<ImageConfig> image = {};        // recorded by the binary's attestation
};

/// All that the pod specifies, whether it may be started or not. Stage config; not_found: the pod's
/// specification is not known, or does not have the container.
Result<kube::Inherited> inheritedBy(const config::Workload& selected, const kube::Pod* spec,
                                    const config::Config& config, const Setting& setting);

/// What is to be started. Also version_mismatch: the pod asks for another version; not_permitted: it needs
/// what a fallback cannot have here, or a variable whose value is not known.
Result<Effective> effectiveWorkload(const watcher::WorkloadPtr& selected, const kube::Pod* spec,
                                    const config::Config& config, const Setting& setting);

/// The entries as people read them: "spec.containers[0].env[2]: the Secret is not known".
std::vector<std::string> texts(const kube::NotInheritedList& list);

}  // namespace fallbackd::recovery
