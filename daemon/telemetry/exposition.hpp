// SPDX-License-Identifier: Apache-2.0
// Metric families as bytes: the Prometheus text format 0.0.4 and OpenMetrics 1.0, the latter with exemplars.
// prometheus-cpp writes only the former, has no exemplars, and uses a stream and a locale for each of some
// ten thousand numbers. Thread-safe unless noted.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <prometheus/metric_family.h>

namespace fallbackd::telemetry {

enum class Format : std::uint8_t { text, open_metrics };

/// Leads from a point in a graph to the log lines of one recovery.
struct Exemplar {
  std::string recovery;
  double value = 0;  // base unit of its family
  double at = 0;     // seconds of Unix time
};

/// The newest exemplar of each bucket that was ever hit, and of each counter. Bounded by the number of
/// series. Not thread-safe.
class Exemplars {
 public:
  using Labels = std::map<std::string, std::string>;

  /// For a histogram; `bounds` are its buckets', ascending.
  void observed(const std::string& family, const Labels& labels, std::span<const double> bounds,
                Exemplar exemplar);
  void counted(const std::string& family, const Labels& labels, Exemplar exemplar);

  /// Keyed by a bucket's upper bound; a counter has one entry, at infinity.
  using OfSeries = std::map<double, Exemplar>;
  [[nodiscard]] const OfSeries* find(const std::string& family,
                                     const std::vector<prometheus::ClientMetric::Label>& labels) const;

 private:
  std::map<std::string, OfSeries, std::less<>> series_;
};

/// `exemplars` are written if the format supports them.
std::string expose(const std::vector<prometheus::MetricFamily>& families, Format format,
                   const Exemplars& exemplars);

}  // namespace fallbackd::telemetry
