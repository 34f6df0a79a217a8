// SPDX-License-Identifier: Apache-2.0
// A node for tests: one workload, its binary admitted, one pod.
#pragma once

#include "app/snapshot.hpp"

#include <memory>
#include <string>

namespace fallbackd::app {

inline Snapshot quietNode() {
  auto config = std::make_shared<config::Config>();
  config::Workload workload;
  workload.name = "checkout";
  workload.match = {"shop", {{"app", "checkout"}}, "checkout"};
  workload.image = "registry.example.com/shop/checkout:1.8.3";
  workload.binary = {"checkout", "1.8.3"};
  workload.definedAt = "fallbackd.yaml:12";
  config->workloads.push_back(workload);
  Snapshot snapshot;
  snapshot.version = "1.2.3";
  snapshot.nodeName = "node-7";
  snapshot.containerdConnected = true;
  snapshot.containerdSocket = "/run/containerd/containerd.sock";
  snapshot.spawnerRuns = true;
  snapshot.config = config;
  snapshot.configFile = "/etc/fallbackd/fallbackd.yaml";
  recovery::BinaryState binary;
  binary.ref = workload.binary;
  binary.serves = true;
  binary.resident = true;
  binary.expires = parseRfc3339("2027-01-31T00:00:00Z");
  snapshot.binaries.emplace().push_back(binary);
  return snapshot;
}

inline cri::Sandbox sandboxOf(const std::string& pod) {
  cri::Sandbox sandbox;
  sandbox.id = "sandbox-of-" + pod;
  sandbox.podName = pod;
  sandbox.podNamespace = "shop";
  sandbox.ready = true;
  sandbox.labels = {{"app", "checkout"}};
  return sandbox;
}

inline watcher::Waiting waitingOf(const Snapshot& snapshot, const std::string& pod,
                                  watcher::Waiting::State state) {
  watcher::Waiting waiting;
  waiting.sandbox = sandboxOf(pod);
  waiting.workload = watcher::WorkloadPtr(snapshot.config, &snapshot.config->workloads.front());
  waiting.state = state;
  return waiting;
}

inline recovery::Withheld withheldOf(const std::string& pod, recovery::Withheld::By by) {
  recovery::Withheld withheld;
  withheld.target = {"sandbox-of-" + pod, "uid", "shop", pod, "checkout"};
  withheld.workload = "checkout";
  withheld.binary = {"checkout", "1.8.3"};
  withheld.by = by;
  return withheld;
}

inline recovery::Incident incidentOf(const std::string& pod, recovery::State state) {
  recovery::Incident incident;
  incident.id = "0123456789ab";
  incident.target = {"sandbox-of-" + pod, "uid", "shop", pod, "checkout"};
  incident.workload = "checkout";
  incident.binary = {"checkout", "1.8.3"};
  incident.cause = Cause::unreachable;
  incident.causeText = "connection refused";
  incident.state = state;
  incident.begun = Clock::system().wall();
  const auto at = [&](int millis) {
    return incident.stamps.waitingSince + std::chrono::milliseconds(millis);
  };
  incident.stamps.waitingSince = Clock::system().now() - std::chrono::seconds(1);
  incident.stamps.detected = at(10);
  incident.stamps.verified = at(11);
  if (state == recovery::State::failed) return incident;
  incident.stamps.prepared = at(15);
  incident.stamps.healthChecked = at(20);
  incident.podIp = "10.1.2.3";
  incident.address = "10.1.2.3:8080";
  incident.stamps.started = at(22);
  if (state == recovery::State::started) return incident;
  incident.stamps.ready = at(30);
  if (recovery::isEnd(state)) incident.stamps.ended = at(900);
  return incident;
}

}  // namespace fallbackd::app
