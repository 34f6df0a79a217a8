// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/journal.hpp"

#include "telemetry/metrics/store.hpp"

namespace fallbackd::telemetry {

namespace {

prometheus::Counter& counterOf(MetricStore& store, JournalOperation operation, JournalResult result) {
  return store.journalOperations.Add(
      {{"operation", operation == JournalOperation::write ? "write" : "remove"},
       {"result", result == JournalResult::ok ? "ok" : "failed"}});
}

}  // namespace

JournalMetrics::JournalMetrics(MetricStore& store) : store_(store) {
  store_.journalEntries.Add({}).Set(0);
  store_.journalDamaged.Add({}).Set(0);
  for (const auto operation : {JournalOperation::write, JournalOperation::remove}) {
    for (const auto result : {JournalResult::ok, JournalResult::failed}) counterOf(store_, operation, result);
  }
}

void JournalMetrics::changed(JournalOperation operation, JournalResult result, std::size_t entries) {
  counterOf(store_, operation, result).Increment();
  store_.journalEntries.Add({}).Set(static_cast<double>(entries));
}

void JournalMetrics::read(std::size_t entries, std::size_t damaged) {
  store_.journalEntries.Add({}).Set(static_cast<double>(entries));
  store_.journalDamaged.Add({}).Set(static_cast<double>(damaged));
}

}  // namespace fallbackd::telemetry
