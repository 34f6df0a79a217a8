// The daemon's state as JSON, for fallbackctl status over the root-only socket.
#pragma once

#include "config/model.hpp"
#include "recovery/incident.hpp"
#include "watcher/watcher.hpp"

#include <string>
#include <vector>

namespace fallbackd::app {

struct Status {
  std::string version;
  std::string nodeName;
  bool containerdConnected = false;
  std::string configFile;
  bool configCurrent = true;  // false: the file on disk was refused, an earlier one is in use
  std::vector<watcher::Waiting> waiting;
  std::vector<watcher::Circuits::Host> registries;
};

/// {"version", "node", "containerd": {"connected"}, "config": {...}, "workloads": [...],
///  "waiting": [{"namespace", "pod", "container", "workload", "image", "binary", "state", "cause"?,
///  "text"?, "verdictMs"?}], "registries": [{"host", "state", "forMs", "cause"?, "text"?}], "recoveries":
///  [{"id", "namespace", "pod", "container", "workload", "binary", "cause", "state", "pid", "begun",
///  "sinceWaitingMs": {...}, "verdictMs"?, "error"?}]}; durations in milliseconds. verdictMs: from the probe
///  pull to its verdict.
std::string statusJson(const Status& status, const config::Config& config,
                       const std::vector<recovery::Incident>& incidents);

}  // namespace fallbackd::app
