// SPDX-License-Identifier: Apache-2.0
// A small fleet through an outage: three daemons that share one containerd (each has its own pods, by a
// label, in its own tree of cgroups), registries that refuse, fail and stay silent, and three binaries: one
// tampered with, one missing, one that expires soon. Dashboards and the status page are tested with it.
#pragma once

#include "fault_registry.hpp"
#include "prometheus.hpp"
#include "shop.hpp"

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace fallbackd::e2e {

class Outage {
 public:
  /// At first everything works; a healthy pod has its container.
  static Result<std::unique_ptr<Outage>> open();

  /// Plays the outage in scenes: several pods and causes, a refused binary, a broken configuration, a
  /// fallback that dies, hand-backs, a pod that is deleted. Calls `between` after each scene. Some fallbacks
  /// keep running afterwards.
  Result<> play(const std::function<Result<>()>& between);

  [[nodiscard]] std::vector<ScrapeTarget> targets() const;
  [[nodiscard]] Daemon& daemon(const std::string& node) const;

  static constexpr std::array<const char*, 3> kNodes{"node-a", "node-b", "node-c"};

 private:
  Outage() = default;
  Result<> prepareCache();
  Result<> openRegistries();
  [[nodiscard]] DaemonOptions optionsFor(const std::string& node) const;
  /// Starts a pod of the workload on that node; waits until its recovery is in this state.
  Result<> startPod(const std::string& workload, const std::string& node, const std::string& name,
                    const std::string& state);
  Result<> handBack(const std::string& node, const std::string& name);
  Result<> reaches(const std::string& node, const std::string& name, const std::string& state);
  Result<> runHealthyPod();
  Result<> breakConfiguration();
  Result<> killFallback();

  std::unique_ptr<FaultRegistry> busy_;
  std::unique_ptr<FaultRegistry> silent_;
  std::unique_ptr<FaultRegistry> well_;
  std::unique_ptr<Shop> shop_;
  std::map<std::string, std::unique_ptr<Daemon>>
      daemons_;                                // except for the first one, which belongs to the shop
  std::map<std::string, std::string> images_;  // by workload
  std::map<std::string, Pod> pods_;            // by name
};

}  // namespace fallbackd::e2e
