// SPDX-License-Identifier: Apache-2.0
// Metrics of the mirror. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace fallbackd::telemetry {

struct MetricStore;

/// Counts since the start.
struct MirrorUsage {
  std::map<std::string, std::uint64_t> requests;  // by result
  std::uint64_t bytes = 0;
  std::map<std::pair<std::string, std::string>, std::uint64_t> images;  // by "tag" or "digest", and cause
  std::map<std::string, std::uint64_t> checks;                          // by result
};

class MirrorMetrics {
 public:
  explicit MirrorMetrics(MetricStore& store) : store_(store) {}

  /// Without a mirror there are no series.
  void used(const MirrorUsage& usage);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
