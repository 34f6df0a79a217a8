// SPDX-License-Identifier: Apache-2.0
// Measures the gap of each hand-back: from the end of the fallback to the start of the real container's
// process, whose event may arrive before the fallback has ended. One io_context thread; never blocks.
#pragma once

#include "base/clock.hpp"
#include "recovery/incident.hpp"
#include "telemetry/metrics/recovery.hpp"

#include <map>
#include <optional>
#include <string>

namespace fallbackd::recovery {

class HandBackGap {
 public:
  explicit HandBackGap(telemetry::RecoveryMetrics& metrics) : metrics_(metrics) {}

  /// The recovery was asked to end because this container was created.
  void asked(const Incident& incident, const std::string& containerId);
  /// Its recovery is over. One that did not end with the hand-back is not measured.
  void ended(const Incident& incident);
  /// The process of any container started.
  void containerStarted(const std::string& containerId, Stamp at);

 private:
  struct HandBack {
    std::string containerId;
    std::string workload;
    std::string recovery;
    std::optional<Stamp> fallbackEnded = {};
    std::optional<Stamp> containerStarted = {};
  };
  using Open = std::map<Target, HandBack>;

  /// Measures and closes it once both stamps are known.
  void settle(Open::iterator handBack);

  telemetry::RecoveryMetrics& metrics_;
  Open open_;
};

}  // namespace fallbackd::recovery
