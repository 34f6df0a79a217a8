// SPDX-License-Identifier: Apache-2.0
// Metrics of stand-ins. Thread-safe.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace fallbackd::config {
struct Config;
}

namespace fallbackd::telemetry {

struct MetricStore;

enum class StandInResult : std::uint8_t {
  started,   // its process runs
  adopted,   // taken over from an earlier daemon
  held,      // not made now, since a rollout is under way
  stopped,   // kubelet asked it to end, and the fallback ended with it
  rejected,  // kubelet ended it before it can have adopted it
  refused,   // not made, since it may do harm
  failed,    // it could not be made
  ended,     // removed by fallbackd
};
std::string_view toString(StandInResult result);

/// `whole`: from the ready fallback on. `adopted`, `pod_ready`: from the stand-in's start until the sources
/// of pods report it.
enum class StandInPhase : std::uint8_t { image, create, start, whole, adopted, pod_ready };
std::string_view toString(StandInPhase phase);

class StandInMetrics {
 public:
  explicit StandInMetrics(MetricStore& store) : store_(store) {}

  void configured(const config::Config& config);

  void running(const std::string& workload, int change);
  void counted(const std::string& workload, StandInResult result);
  void took(const std::string& workload, StandInPhase phase, Monotonic::duration duration);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
