// SPDX-License-Identifier: Apache-2.0
// Metrics of the configured workloads: what the configuration says about each, and the versions of its real
// containers. Thread-safe.
#pragma once

#include "domain/binary_ref.hpp"

#include <cstddef>
#include <map>
#include <string>

namespace fallbackd::config {
struct Config;
}

namespace fallbackd::telemetry {

struct MetricStore;

class WorkloadMetrics {
 public:
  explicit WorkloadMetrics(MetricStore& store) : store_(store) {}

  /// Replaces what an earlier configuration said.
  void configured(const config::Config& config);
  /// Real containers of each workload on this node; replaces earlier values.
  void runningContainers(const std::map<std::string, VersionSkew>& all);
  /// Number of containers on this node by whether they would be rescued: for all verdicts.
  void coverage(const std::map<std::string, std::size_t>& byVerdict);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
