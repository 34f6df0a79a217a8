// SPDX-License-Identifier: Apache-2.0
// Every metric of the daemon as it is registered: name, help, labels. deploy/METRICS.md is generated from
// this. For the facets' sources.
#pragma once

#include "telemetry/metrics/page.hpp"

#include <string>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace fallbackd::telemetry {

struct MetricFamilies {
  using Counters = prometheus::Family<prometheus::Counter>&;
  using Gauges = prometheus::Family<prometheus::Gauge>&;
  using Histograms = prometheus::Family<prometheus::Histogram>&;
  using Labels = std::vector<MetricDescription::Label>;

  MetricFamilies();

  prometheus::Registry registry;
  std::vector<MetricDescription> described;  // in the order of their registration

  // Recoveries
  Histograms recoverySeconds;
  Histograms phaseSeconds;
  Counters begun;
  Counters recoveries;
  Gauges active;
  Counters served;
  Counters exits;
  Histograms gap;
  Counters adoptions;
  Gauges standIns;
  Counters standInEvents;
  Histograms standInSeconds;
  // Orders
  Gauges pausedScopes;
  Gauges drillHolds;
  Gauges withheld;
  Counters observed;
  // Detection
  Counters probes;
  Counters unstick;
  Counters providerRuns;
  Counters providersNotWaitedFor;
  Gauges waiting;
  Gauges notStarted;
  Gauges circuits;
  Gauges connected;
  Counters connectionLosses;
  Counters calls;
  Gauges sandboxImage;
  Gauges podSourceUp;
  Gauges podSourceSuccess;
  Counters podSourceRequests;
  Gauges podsKnown;
  Gauges eventsUp;
  Counters events;
  // Mirror
  Counters mirrorRequests;
  Counters mirrorBytes;
  Counters mirrorImages;
  Counters mirrorChecks;
  // Coverage
  Gauges workloads;
  Gauges admitted;
  Gauges coverage;
  Gauges expiry;
  Counters graceUses;
  Gauges rollbacks;
  Gauges imageSkew;
  Gauges containers;
  Gauges podCoverage;
  // Cache
  Counters admissions;
  Gauges residentBytes;
  Gauges budgetBytes;
  Counters hashedBytes;
  // Daemon
  Counters reloads;
  Gauges reloadOk;
  Gauges reloadTime;
  Counters journalOperations;
  Gauges journalEntries;
  Gauges journalDamaged;
  Counters spawnerRestarts;
  Gauges workers;
  Gauges workersStuck;
  Counters workerMissed;
  Counters workerRefused;
  Counters loopStalls;
  Counters loopStalled;
  Gauges build;
  Counters processCpu;
  Gauges processStart;
  Gauges processResident;
  Gauges processVirtual;
  Gauges processThreads;
  Gauges processFds;
  Gauges processMaxFds;

 private:
  Counters counter(const char* name, const char* help, Labels labels = {});
  Gauges gauge(const char* name, const char* help, Labels labels = {});
  Histograms histogram(const char* name, const char* help, Labels labels = {});
};

/// Upper bounds of the histograms by workload, inclusive: 1 ms to 5 min. Fine in the range of our own part,
/// coarse in the range of kubelet's back-off; 0.23 s is the target.
const std::vector<double>& secondsBuckets();
/// For the phases: enough to see which one is slow.
const std::vector<double>& phaseBuckets();

}  // namespace fallbackd::telemetry
