// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/stand_ins.hpp"

#include "config/model.hpp"
#include "telemetry/metrics/store.hpp"

#include <array>

namespace fallbackd::telemetry {

std::string_view toString(StandInResult result) {
  constexpr std::array<std::string_view, 8> kNames{"started",  "adopted", "held",   "stopped",
                                                   "rejected", "refused", "failed", "ended"};
  return kNames.at(static_cast<std::size_t>(result));
}

std::string_view toString(StandInPhase phase) {
  constexpr std::array<std::string_view, 6> kNames{"image", "create",  "start",
                                                   "whole", "adopted", "pod_ready"};
  return kNames.at(static_cast<std::size_t>(phase));
}

void StandInMetrics::configured(const config::Config& config) {
  for (const auto& workload : config.workloads) store_.standIns.Add({{"workload", workload.name}});
}

void StandInMetrics::running(const std::string& workload, int change) {
  store_.standIns.Add({{"workload", workload}}).Increment(change);
}

void StandInMetrics::counted(const std::string& workload, StandInResult result) {
  store_.standInEvents.Add({{"workload", workload}, {"result", std::string(toString(result))}}).Increment();
}

void StandInMetrics::took(const std::string& workload, StandInPhase phase, Monotonic::duration duration) {
  store_.standInSeconds
      .Add({{"workload", workload}, {"phase", std::string(toString(phase))}}, secondsBuckets())
      .Observe(seconds(duration));
}

}  // namespace fallbackd::telemetry
