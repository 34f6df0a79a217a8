// SPDX-License-Identifier: Apache-2.0
// Counts what lasts: each gauge rises with its object and falls when the object ends, on every path.
#pragma once

#include "base/clock.hpp"
#include "telemetry/metrics/recovery.hpp"

#include <string>
#include <utility>

namespace fallbackd::recovery {

/// A fallback process of the workload exists: fallbackd_active_fallbacks.
class ActiveFallback {
 public:
  ActiveFallback(telemetry::RecoveryMetrics& metrics, std::string workload)
      : metrics_(metrics), workload_(std::move(workload)) {
    metrics_.activeFallbacks(workload_, 1);
  }
  ~ActiveFallback() { metrics_.activeFallbacks(workload_, -1); }
  ActiveFallback(const ActiveFallback&) = delete;
  ActiveFallback& operator=(const ActiveFallback&) = delete;

 private:
  telemetry::RecoveryMetrics& metrics_;
  std::string workload_;
};

/// The fallback of the recovery is ready: fallbackd_fallback_seconds_total grows.
class ServingFallback {
 public:
  ServingFallback(telemetry::RecoveryMetrics& metrics, const Clock& clock, std::string workload,
                  std::string recovery, Stamp since)
      : metrics_(metrics), clock_(clock), workload_(std::move(workload)), recovery_(std::move(recovery)) {
    metrics_.fallbackServes(workload_, recovery_, since);
  }
  ~ServingFallback() { metrics_.fallbackServed(workload_, recovery_, clock_.now()); }
  ServingFallback(const ServingFallback&) = delete;
  ServingFallback& operator=(const ServingFallback&) = delete;

 private:
  telemetry::RecoveryMetrics& metrics_;
  const Clock& clock_;
  std::string workload_;
  std::string recovery_;
};

}  // namespace fallbackd::recovery
