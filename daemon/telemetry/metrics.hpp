// SPDX-License-Identifier: Apache-2.0
// All metrics of the daemon, in facets by subject: a source that counts includes only its facet's header.
// Names are stable; base units (seconds, bytes). Thread-safe. Labels are bounded by the configuration or by
// closed lists. deploy/METRICS.md documents the exported metrics.
#pragma once

#include "telemetry/metrics/cache.hpp"
#include "telemetry/metrics/daemon.hpp"
#include "telemetry/metrics/detection.hpp"
#include "telemetry/metrics/journal.hpp"
#include "telemetry/metrics/mirror.hpp"
#include "telemetry/metrics/orders.hpp"
#include "telemetry/metrics/page.hpp"
#include "telemetry/metrics/pod_sources.hpp"
#include "telemetry/metrics/recovery.hpp"
#include "telemetry/metrics/stand_ins.hpp"
#include "telemetry/metrics/workload.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::telemetry {

class Metrics {
  std::unique_ptr<MetricStore> store_;  // before the facets, which refer to it

 public:
  static constexpr std::string_view kTextType = "text/plain; version=0.0.4; charset=utf-8";
  static constexpr std::string_view kOpenMetricsType =
      "application/openmetrics-text; version=1.0.0; charset=utf-8";

  explicit Metrics(std::string_view version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// The configuration in use from now on.
  void configured(const config::Config& config);

  RecoveryMetrics recovery;
  StandInMetrics standIns;
  OrderMetrics orders;
  JournalMetrics journal;
  DetectionMetrics detection;
  PodSourceMetrics podSources;
  MirrorMetrics mirror;
  WorkloadMetrics workload;
  CacheMetrics cache;
  DaemonMetrics daemon;

  /// Text exposition format 0.0.4: kTextType.
  [[nodiscard]] std::string serialize() const;
  /// OpenMetrics 1.0 with exemplars {recovery="ID"}: kOpenMetricsType.
  [[nodiscard]] std::string serializeOpenMetrics() const;
  /// Everything that can be exported, whether it has series or not.
  [[nodiscard]] const std::vector<MetricDescription>& descriptions() const;
};

}  // namespace fallbackd::telemetry
