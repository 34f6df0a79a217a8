// SPDX-License-Identifier: Apache-2.0
#include "config/model.hpp"
#include "domain/image_reference.hpp"

namespace fallbackd::config {

PullPolicy pullPolicyOf(const Workload& workload) {
  if (workload.detection.pullPolicy) return *workload.detection.pullPolicy;
  const auto image = ImageReference::parse(workload.image);
  return image && image->tag() == "latest" ? PullPolicy::always : PullPolicy::if_not_present;
}

Mode modeOf(const Config& config, const Workload& workload, const std::string& podNamespace) {
  if (workload.mode) return *workload.mode;
  const auto found = config.namespaceModes.find(podNamespace);
  return found == config.namespaceModes.end() ? config.mode : found->second;
}

}  // namespace fallbackd::config
