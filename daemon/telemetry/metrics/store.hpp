// SPDX-License-Identifier: Apache-2.0
// What the facets of Metrics share: the registered families, the lock that lets a scrape see a replacement
// only as a whole, and exemplars. For the facets' sources.
#pragma once

#include "base/clock.hpp"
#include "telemetry/exposition.hpp"
#include "telemetry/metrics/families.hpp"

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <prometheus/metric_family.h>

namespace fallbackd::telemetry {

using SeriesLabels = std::map<std::string, std::string>;

/// The series of one family that are replaced together.
class ReplacedSeries {
 public:
  explicit ReplacedSeries(prometheus::Family<prometheus::Gauge>& family) : family_(family) {}

  void set(const SeriesLabels& labels, double value);
  /// Removes what was not set since the last time.
  void replaced();

 private:
  prometheus::Family<prometheus::Gauge>& family_;
  std::map<SeriesLabels, prometheus::Gauge*> current_;
  std::map<SeriesLabels, prometheus::Gauge*> fresh_;
};

struct MetricStore : MetricFamilies {
  /// All families, with the values that are computed on request. Under the mutex.
  std::vector<prometheus::MetricFamily> collect();

  std::mutex mutex;  // guards the following
  Exemplars exemplars;
  ReplacedSeries circuitsNow{circuits};
  ReplacedSeries workloadsNow{workloads};
  ReplacedSeries admittedNow{admitted};
  ReplacedSeries coverageNow{coverage};
  ReplacedSeries expiryNow{expiry};
  ReplacedSeries rollbacksNow{rollbacks};
  ReplacedSeries imageSkewNow{imageSkew};
  ReplacedSeries containersNow{containers};
  struct Serving {
    std::string workload;
    Stamp since;
    double shown = 0;  // seconds, at the latest scrape
  };
  std::map<std::string, Serving> serving;  // by recovery id
};

double seconds(Monotonic::duration duration);
double unixTime(Wall::time_point when);
/// A counter whose total is kept elsewhere.
void raiseTo(prometheus::Counter& counter, double total);

}  // namespace fallbackd::telemetry
