// SPDX-License-Identifier: Apache-2.0
// What the daemon knows at one moment, copied on its loop so that other threads can take their time to read
// it.
#pragma once

#include "app/pods_view.hpp"
#include "base/clock.hpp"
#include "cache/cache.hpp"
#include "config/drill.hpp"
#include "config/model.hpp"
#include "kube/rollout.hpp"
#include "mirror/endpoint.hpp"
#include "recovery/binaries.hpp"
#include "recovery/incident.hpp"
#include "recovery/withholding.hpp"
#include "watcher/pod_specs.hpp"
#include "watcher/watcher.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::app {

struct Snapshot {
  std::string version;
  std::string nodeName;
  Wall::time_point started;  // when the daemon started
  Wall::time_point taken = Clock::system().wall();
  Stamp takenAt = Clock::system().now();
  bool containerdConnected = false;
  std::string containerdSocket;
  std::string containerdProblem;  // why it is not connected; empty before the first attempt
  /// "does not answer at SOCKET: WHY", if it is not connected.
  [[nodiscard]] std::string containerdTrouble() const {
    return "does not answer at " + containerdSocket +
           (containerdProblem.empty() ? "" : ": " + containerdProblem);
  }
  bool spawnerRuns = false;
  unsigned spawnerRestarts = 0;
  config::ConfigPtr config;
  std::string configFile;
  std::string dropInDir;                    // empty: conf.d beside it
  std::vector<std::string> configProblems;  // in the file on disk, which was refused; empty: it is in use
  std::vector<watcher::PodSummary> pods;
  std::vector<watcher::Waiting> waiting;
  std::vector<watcher::Circuits::Host> registries;
  watcher::Unsticker::State unstick = watcher::Unsticker::State::untried;
  watcher::Unsticker::Counts unsticks{};
  watcher::IgnoredAnnotations ignoredAnnotations;
  config::Pause pause;
  bool standInsGone = false;           // as the order requires
  std::string pauseProblem;            // why its file cannot be read: then the node is paused; else empty
  std::optional<config::Drill> drill;  // while it holds
  std::string drillProblem;            // why an order for one is not followed
  std::vector<recovery::Withheld> withheld;
  std::vector<recovery::Incident> incidents;                   // running ones first, then the newest
  std::optional<std::vector<recovery::BinaryState>> binaries;  // absent: the cache has not been read yet
  cache::Cache::Usage cacheUsage;
  std::vector<cache::RolledBack> rolledBack;  // the configuration's, beside the version floor
  cache::Cache::Trust trust;                  // what prevents every admission
  std::map<std::string, std::uint64_t> containerdCalls;
  std::optional<mirror::View> mirror;  // absent: it is off, or could not start
  std::string mirrorProblem;           // why it could not
  PodsView knownPods;
  std::map<std::string, watcher::SpecPtr> specs;      // of `pods`, as far as known, by pod uid
  std::map<std::string, kube::Facts> facts;           // the same
  std::map<std::string, kube::RolloutView> rollouts;  // of those that waited, by pod uid
};
using SnapshotPtr = std::shared_ptr<const Snapshot>;

/// A stamp in wall time, in whole seconds: RFC 3339.
std::string wallTime(const Snapshot& snapshot, Stamp at);

/// Null if it is not known.
const kube::Pod* specOf(const Snapshot& snapshot, const std::string& podUid);

/// Null if the cache has not been read yet, or no workload of the configuration refers to it.
const recovery::BinaryState* binaryOf(const Snapshot& snapshot, const BinaryRef& ref);

}  // namespace fallbackd::app
