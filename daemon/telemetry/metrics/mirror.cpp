// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/mirror.hpp"

#include "telemetry/metrics/store.hpp"

namespace fallbackd::telemetry {

void MirrorMetrics::used(const MirrorUsage& usage) {
  const auto raise = [](auto& counter, std::uint64_t total) { raiseTo(counter, static_cast<double>(total)); };
  for (const auto& [result, total] : usage.requests) {
    raise(store_.mirrorRequests.Add({{"result", result}}), total);
  }
  raise(store_.mirrorBytes.Add({}), usage.bytes);
  for (const auto& [kind, total] : usage.images) {
    raise(store_.mirrorImages.Add({{"by", kind.first}, {"cause", kind.second}}), total);
  }
  for (const auto& [result, total] : usage.checks) {
    raise(store_.mirrorChecks.Add({{"result", result}}), total);
  }
}

}  // namespace fallbackd::telemetry
