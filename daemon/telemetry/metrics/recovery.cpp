// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/recovery.hpp"

#include "config/model.hpp"
#include "telemetry/metrics/store.hpp"

#include <algorithm>
#include <array>

namespace fallbackd::telemetry {

namespace {

constexpr std::array kExitKinds{ExitKind::exited, ExitKind::signaled, ExitKind::oom_killed,
                                ExitKind::unknown};

Exemplar exemplarOf(const std::string& recovery, double value) {
  return {recovery, value, unixTime(Clock::system().wall())};
}

}  // namespace

std::string_view toString(Phase phase) {
  constexpr std::array<std::string_view, 7> kNames{"detect", "verify", "prepare", "health_check",
                                                   "exec",   "ready",  "total"};
  return kNames.at(static_cast<std::size_t>(phase));
}

std::string_view toString(RecoveryOutcome outcome) {
  constexpr std::array<std::string_view, 5> kNames{"handed_back", "completed", "pod_gone", "withdrawn",
                                                   "failed"};
  return kNames.at(static_cast<std::size_t>(outcome));
}

std::string_view toString(ExitKind kind) {
  constexpr std::array<std::string_view, kExitKinds.size()> kNames{"exited", "signaled", "oom_killed",
                                                                   "unknown"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::string_view toString(AdoptionResult result) {
  return result == AdoptionResult::adopted ? "adopted" : "gone";
}

RecoveryMetrics::RecoveryMetrics(MetricStore& store) : store_(store) {
  for (const auto result : {AdoptionResult::adopted, AdoptionResult::gone}) {
    store_.adoptions.Add({{"result", std::string(toString(result))}});
  }
}

void RecoveryMetrics::configured(const config::Config& config) {
  for (const auto& workload : config.workloads) {
    const std::string& name = workload.name;
    store_.active.Add({{"workload", name}});
    store_.served.Add({{"workload", name}});
    for (const auto kind : kExitKinds) {
      store_.exits.Add({{"workload", name}, {"kind", std::string(toString(kind))}});
    }
    for (const auto cause : workload.detection.triggers) {
      store_.begun.Add({{"workload", name}, {"cause", std::string(toString(cause))}});
    }
  }
}

void RecoveryMetrics::begun(const std::string& workload, Cause cause) {
  const std::string name(toString(cause));
  store_.begun.Add({{"workload", workload}, {"cause", name}}).Increment();
  // The series of its most likely ends exist before it ends.
  for (const auto outcome : {RecoveryOutcome::handed_back, RecoveryOutcome::pod_gone}) {
    store_.recoveries.Add({{"workload", workload},
                           {"cause", name},
                           {"outcome", std::string(toString(outcome))},
                           {"stage", std::string()},
                           {"reason", std::string()}});
  }
}

void RecoveryMetrics::phase(const std::string& workload, Cause cause, Phase phase,
                            Monotonic::duration duration, const std::string& recovery) {
  const double value = seconds(duration);
  const bool all = phase == Phase::total;
  // Phases are not split by workload: that would multiply their series, and the log has each recovery's.
  const SeriesLabels labels =
      all ? SeriesLabels{{"workload", workload}, {"cause", std::string(toString(cause))}}
          : SeriesLabels{{"phase", std::string(toString(phase))}};
  auto& family = all ? store_.recoverySeconds : store_.phaseSeconds;
  const auto& bounds = all ? secondsBuckets() : phaseBuckets();
  const std::lock_guard lock(store_.mutex);
  family.Add(labels, bounds).Observe(value);
  store_.exemplars.observed(family.GetName(), labels, bounds, exemplarOf(recovery, value));
}

void RecoveryMetrics::ended(const std::string& workload, Cause cause, RecoveryOutcome outcome,
                            const std::string& recovery, std::optional<RecoveryFailure> failure) {
  const SeriesLabels labels{{"workload", workload},
                            {"cause", std::string(toString(cause))},
                            {"outcome", std::string(toString(outcome))},
                            {"stage", failure ? std::string(toString(failure->stage)) : ""},
                            {"reason", failure ? std::string(toString(failure->reason)) : ""}};
  const std::lock_guard lock(store_.mutex);
  store_.recoveries.Add(labels).Increment();
  store_.exemplars.counted(store_.recoveries.GetName(), labels, exemplarOf(recovery, 1));
}

void RecoveryMetrics::activeFallbacks(const std::string& workload, int change) {
  store_.active.Add({{"workload", workload}}).Increment(change);
}

void RecoveryMetrics::fallbackServes(const std::string& workload, const std::string& recovery, Stamp since) {
  const std::lock_guard lock(store_.mutex);
  store_.served.Add({{"workload", workload}});
  store_.serving[recovery] = {workload, since};
}

void RecoveryMetrics::fallbackServed(const std::string& workload, const std::string& recovery, Stamp until) {
  const std::lock_guard lock(store_.mutex);
  const auto found = store_.serving.find(recovery);
  if (found == store_.serving.end()) return;
  // A scrape may have shown a moment after the end. Less than that would look like a restart of the daemon,
  // and all seconds would count again.
  const auto& one = found->second;
  store_.served.Add({{"workload", workload}}).Increment(std::max(seconds(until - one.since), one.shown));
  store_.serving.erase(found);
}

void RecoveryMetrics::fallbackExit(const std::string& workload, ExitKind kind) {
  store_.exits.Add({{"workload", workload}, {"kind", std::string(toString(kind))}}).Increment();
}

void RecoveryMetrics::handBackGap(const std::string& workload, Monotonic::duration gap,
                                  const std::string& recovery) {
  const SeriesLabels labels{{"workload", workload}};
  const double value = seconds(gap);
  const std::lock_guard lock(store_.mutex);
  store_.gap.Add(labels, secondsBuckets()).Observe(value);
  store_.exemplars.observed(store_.gap.GetName(), labels, secondsBuckets(), exemplarOf(recovery, value));
}

void RecoveryMetrics::adoption(AdoptionResult result) {
  store_.adoptions.Add({{"result", std::string(toString(result))}}).Increment();
}

}  // namespace fallbackd::telemetry
