// SPDX-License-Identifier: Apache-2.0
// Metrics of recoveries and of their fallback processes. Thread-safe. `recovery` is a recovery's id: for the
// exemplars, and to distinguish fallbacks of one workload.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "domain/cause.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::config {
struct Config;
}

namespace fallbackd::telemetry {

struct MetricStore;

/// Differences of two stamps. total is fallbackd_recovery_seconds, the others
/// fallbackd_recovery_phase_seconds.
enum class Phase : std::uint8_t { detect, verify, prepare, health_check, exec, ready, total };
std::string_view toString(Phase phase);

enum class RecoveryOutcome : std::uint8_t { handed_back, completed, pod_gone, withdrawn, failed };
std::string_view toString(RecoveryOutcome outcome);

/// How a fallback process exited unexpectedly.
enum class ExitKind : std::uint8_t { exited, signaled, oom_killed, unknown };
std::string_view toString(ExitKind kind);

/// What became of a fallback of an earlier daemon.
enum class AdoptionResult : std::uint8_t { adopted, gone };
std::string_view toString(AdoptionResult result);

/// Why a recovery failed.
struct RecoveryFailure {
  Stage stage;
  Reason reason;
};

class RecoveryMetrics {
 public:
  explicit RecoveryMetrics(MetricStore& store);

  /// Workloads get their series, so that a first recovery shows as a rise from 0 and not as a new series.
  void configured(const config::Config& config);

  void begun(const std::string& workload, Cause cause);
  void phase(const std::string& workload, Cause cause, Phase phase, Monotonic::duration duration,
             const std::string& recovery);
  void ended(const std::string& workload, Cause cause, RecoveryOutcome outcome, const std::string& recovery,
             std::optional<RecoveryFailure> failure = std::nullopt);
  void activeFallbacks(const std::string& workload, int change);
  /// The fallback of the recovery has been ready since then; counts as time in fallback until
  /// fallbackServed().
  void fallbackServes(const std::string& workload, const std::string& recovery, Stamp since);
  void fallbackServed(const std::string& workload, const std::string& recovery, Stamp until);
  void fallbackExit(const std::string& workload, ExitKind kind);
  void handBackGap(const std::string& workload, Monotonic::duration gap, const std::string& recovery);
  void adoption(AdoptionResult result);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
