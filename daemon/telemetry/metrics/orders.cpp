// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/orders.hpp"

#include "telemetry/metrics/store.hpp"

namespace fallbackd::telemetry {

OrderMetrics::OrderMetrics(MetricStore& store) : store_(store) {
  paused(0, 0);
  drill(Drill::none);
  withheld(0, 0);
}

void OrderMetrics::drill(Drill drill) {
  store_.drillHolds.Add({}).Set(drill == Drill::holds ? 1 : 0);
}

void OrderMetrics::paused(std::size_t nodes, std::size_t namespaces) {
  store_.pausedScopes.Add({{"scope", "node"}}).Set(static_cast<double>(nodes));
  store_.pausedScopes.Add({{"scope", "namespace"}}).Set(static_cast<double>(namespaces));
}

void OrderMetrics::withheld(std::size_t byPause, std::size_t byObserving) {
  store_.withheld.Add({{"by", "pause"}}).Set(static_cast<double>(byPause));
  store_.withheld.Add({{"by", "observe"}}).Set(static_cast<double>(byObserving));
}

void OrderMetrics::observed(const std::string& workload, ObservedResult result) {
  store_.observed
      .Add(
          {{"workload", workload}, {"result", result == ObservedResult::refused ? "refused" : "would_start"}})
      .Increment();
}

}  // namespace fallbackd::telemetry
