// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/pod_sources.hpp"

#include "telemetry/metrics/store.hpp"

namespace fallbackd::telemetry {

void PodSourceMetrics::used(const PodSourceUsage& usage) {
  if (usage.sources.empty()) return;
  store_.podsKnown.Add({}).Set(static_cast<double>(usage.pods));
  for (const auto& [name, source] : usage.sources) {
    store_.podSourceUp.Add({{"source", name}}).Set(source.up ? 1 : 0);
    if (source.lastSuccess) {
      store_.podSourceSuccess.Add({{"source", name}}).Set(unixTime(*source.lastSuccess));
    }
    for (const auto& [result, total] : source.requests) {
      raiseTo(store_.podSourceRequests.Add({{"source", name}, {"result", result}}),
              static_cast<double>(total));
    }
  }
}

void PodSourceMetrics::used(const EventUsage& usage) {
  store_.eventsUp.Add({}).Set(usage.up ? 1 : 0);
  for (const auto& [result, total] : usage.results) {
    raiseTo(store_.events.Add({{"result", result}}), static_cast<double>(total));
  }
}

}  // namespace fallbackd::telemetry
