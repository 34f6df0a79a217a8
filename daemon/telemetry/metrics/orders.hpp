// SPDX-License-Identifier: Apache-2.0
// Metrics of what an operator orders: pauses, drills and mode observe. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fallbackd::telemetry {

struct MetricStore;

/// What would have become of a recovery that was only observed.
enum class ObservedResult : std::uint8_t { would_start, refused };

class OrderMetrics {
 public:
  explicit OrderMetrics(MetricStore& store);

  /// Whether the node is paused (0 or 1), and how many namespaces are.
  void paused(std::size_t nodes, std::size_t namespaces);
  enum class Drill : std::uint8_t { none, holds };
  void drill(Drill drill);
  /// Containers whose fallback is due now but not started.
  void withheld(std::size_t byPause, std::size_t byObserving);
  void observed(const std::string& workload, ObservedResult result);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
