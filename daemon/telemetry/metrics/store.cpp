// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/store.hpp"

#include "telemetry/process_usage.hpp"

#include <chrono>
#include <utility>

namespace fallbackd::telemetry {

double seconds(Monotonic::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double unixTime(Wall::time_point when) {
  return std::chrono::duration<double>(when.time_since_epoch()).count();
}

void raiseTo(prometheus::Counter& counter, double total) {
  counter.Increment(total - counter.Value());
}

void ReplacedSeries::set(const SeriesLabels& labels, double value) {
  auto& series = family_.Add(labels);
  series.Set(value);
  fresh_[labels] = &series;
}

void ReplacedSeries::replaced() {
  for (const auto& [labels, series] : current_) {
    if (!fresh_.contains(labels)) family_.Remove(series);
  }
  current_ = std::exchange(fresh_, {});
}

std::vector<prometheus::MetricFamily> MetricStore::collect() {
  if (const auto usage = processUsage()) {
    raiseTo(processCpu.Add({}), usage->cpuSeconds);
    processStart.Add({}).Set(usage->startTime);
    processResident.Add({}).Set(usage->residentBytes);
    processVirtual.Add({}).Set(usage->virtualBytes);
    processThreads.Add({}).Set(usage->threads);
    processFds.Add({}).Set(usage->openFds);
    processMaxFds.Add({}).Set(usage->maxFds);
  }
  std::map<std::string, double> stillServing;
  const auto now = Clock::system().now();
  for (auto& [recovery, one] : serving) {
    one.shown = seconds(now - one.since);
    stillServing[one.workload] += one.shown;
  }
  auto families = registry.Collect();
  for (auto& family : families) {
    if (family.name != served.GetName()) continue;
    for (auto& metric : family.metric) {
      const auto found = stillServing.find(metric.label.front().value);
      if (found != stillServing.end()) metric.counter.value += found->second;
    }
  }
  return families;
}

}  // namespace fallbackd::telemetry
