// SPDX-License-Identifier: Apache-2.0
// Metrics of the journal. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fallbackd::telemetry {

struct MetricStore;

enum class JournalOperation : std::uint8_t { write, remove };
enum class JournalResult : std::uint8_t { ok, failed };

class JournalMetrics {
 public:
  explicit JournalMetrics(MetricStore& store);

  /// A change of the journal, and its number of entries now.
  void changed(JournalOperation operation, JournalResult result, std::size_t entries);
  /// Entries found at the start.
  void read(std::size_t entries, std::size_t damaged);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
