// SPDX-License-Identifier: Apache-2.0
#include "config/model.hpp"
#include "domain/image_reference.hpp"

namespace fallbackd::config {

PullPolicy pullPolicyOf(const Workload& workload) {
  if (workload.detection.pullPolicy) return *workload.detection.pullPolicy;
  const auto image = ImageReference::parse(workload.image);
  return image && image->tag() == "latest" ? PullPolicy::always : PullPolicy::if_not_present;
}

}  // namespace fallbackd::config
