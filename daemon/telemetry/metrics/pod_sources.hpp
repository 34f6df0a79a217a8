// SPDX-License-Identifier: Apache-2.0
// Metrics of the sources of pods, kubelet and the API server, and of Events. Thread-safe.
#pragma once

#include "base/clock.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace fallbackd::telemetry {

struct MetricStore;

/// Counts are since the start.
struct PodSourceUsage {
  struct Source {
    bool up = false;
    std::optional<Wall::time_point> lastSuccess;
    std::map<std::string, std::uint64_t> requests;  // by result
  };
  std::map<std::string, Source> sources;  // the configured ones
  std::size_t pods = 0;
};

/// Kubernetes Events that the daemon writes. Counts are since the start.
struct EventUsage {
  bool up = false;
  std::map<std::string, std::uint64_t> results;
};

class PodSourceMetrics {
 public:
  explicit PodSourceMetrics(MetricStore& store) : store_(store) {}

  /// Without a configured source there are no series.
  void used(const PodSourceUsage& usage);
  void used(const EventUsage& usage);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
