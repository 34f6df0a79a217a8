// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/daemon.hpp"

#include "telemetry/metrics/store.hpp"

namespace fallbackd::telemetry {

std::string_view toString(ConfigLoad load) {
  return load == ConfigLoad::ok ? "ok" : "refused";
}

DaemonMetrics::DaemonMetrics(MetricStore& store, std::string_view version) : store_(store) {
  store_.build.Add({{"version", std::string(version)}}).Set(1);
  store_.spawnerRestarts.Add({});
  store_.workers.Add({}).Set(0);
  store_.workersStuck.Add({}).Set(0);
  store_.loopStalls.Add({});
  store_.loopStalled.Add({});
  for (const auto load : {ConfigLoad::ok, ConfigLoad::refused}) {
    store_.reloads.Add({{"result", std::string(toString(load))}});
  }
}

void DaemonMetrics::configLoaded(ConfigLoad load) {
  store_.reloads.Add({{"result", std::string(toString(load))}}).Increment();
  store_.reloadOk.Add({}).Set(load == ConfigLoad::ok ? 1 : 0);
  if (load == ConfigLoad::ok) store_.reloadTime.Add({}).Set(unixTime(Clock::system().wall()));
}

void DaemonMetrics::spawnerRestarts(unsigned total) {
  raiseTo(store_.spawnerRestarts.Add({}), total);
}

void DaemonMetrics::workerUsage(const WorkerUsage& usage) {
  store_.workers.Add({}).Set(static_cast<double>(usage.workers));
  store_.workersStuck.Add({}).Set(static_cast<double>(usage.stuck));
  for (const auto& [work, total] : usage.missed) {
    raiseTo(store_.workerMissed.Add({{"work", work}}), static_cast<double>(total));
  }
  for (const auto& [work, total] : usage.refused) {
    raiseTo(store_.workerRefused.Add({{"work", work}}), static_cast<double>(total));
  }
}

void DaemonMetrics::loopStalled() {
  store_.loopStalls.Add({}).Increment();
}

void DaemonMetrics::loopTurnsAgain(Monotonic::duration after) {
  store_.loopStalled.Add({}).Increment(seconds(after));
}

}  // namespace fallbackd::telemetry
