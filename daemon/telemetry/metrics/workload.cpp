// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/workload.hpp"

#include "config/model.hpp"
#include "domain/image_reference.hpp"
#include "telemetry/metrics/store.hpp"

#include <optional>

namespace fallbackd::telemetry {

void WorkloadMetrics::configured(const config::Config& config) {
  const std::lock_guard lock(store_.mutex);
  for (const auto& workload : config.workloads) {
    store_.workloadsNow.set({{"workload", workload.name},
                             {"workload_namespace", workload.match.namespaceName.value_or("")},
                             {"binary", workload.binary.toString()},
                             {"image", workload.image}},
                            1);
    const auto image = ImageReference::parse(workload.image);
    const auto same = image ? sameVersion(image->tag(), workload.binary.version) : std::nullopt;
    if (same) store_.imageSkewNow.set({{"workload", workload.name}}, *same ? 0 : 1);
  }
  store_.workloadsNow.replaced();
  store_.imageSkewNow.replaced();
}

void WorkloadMetrics::runningContainers(const std::map<std::string, VersionSkew>& all) {
  const std::lock_guard lock(store_.mutex);
  for (const auto& [workload, skew] : all) {
    const auto set = [&, &name = workload](const char* version, std::size_t count) {
      store_.containersNow.set({{"workload", name}, {"version", version}}, static_cast<double>(count));
    };
    set("same", skew.same);
    set("other", skew.other);
    set("unknown", skew.unknown);
  }
  store_.containersNow.replaced();
}

void WorkloadMetrics::coverage(const std::map<std::string, std::size_t>& byVerdict) {
  for (const auto& [verdict, containers] : byVerdict)
    store_.podCoverage.Add({{"verdict", verdict}}).Set(static_cast<double>(containers));
}

}  // namespace fallbackd::telemetry
