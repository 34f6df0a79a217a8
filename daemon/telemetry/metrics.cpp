// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics.hpp"

#include "telemetry/metrics/store.hpp"

#include <mutex>

namespace fallbackd::telemetry {

// A series that exists from the start can be distinguished from a missing one: the facets create those that
// need no configuration.
Metrics::Metrics(std::string_view version)
    : store_(std::make_unique<MetricStore>()),
      recovery(*store_),
      standIns(*store_),
      orders(*store_),
      journal(*store_),
      detection(*store_),
      podSources(*store_),
      mirror(*store_),
      workload(*store_),
      cache(*store_),
      daemon(*store_, version) {}

Metrics::~Metrics() = default;

void Metrics::configured(const config::Config& config) {
  recovery.configured(config);
  workload.configured(config);
  standIns.configured(config);
}

std::string Metrics::serialize() const {
  const std::lock_guard lock(store_->mutex);
  return expose(store_->collect(), Format::text, store_->exemplars);
}

std::string Metrics::serializeOpenMetrics() const {
  const std::lock_guard lock(store_->mutex);
  return expose(store_->collect(), Format::open_metrics, store_->exemplars);
}

const std::vector<MetricDescription>& Metrics::descriptions() const {
  return store_->described;
}

}  // namespace fallbackd::telemetry
