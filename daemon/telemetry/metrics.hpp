// SPDX-License-Identifier: Apache-2.0
// All metrics of the daemon, by meaning. Names are stable; base units (seconds, bytes). Thread-safe. Labels
// are bounded by the configuration or by closed lists. deploy/METRICS.md documents the exported metrics.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "domain/binary_ref.hpp"
#include "domain/cause.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::telemetry {

/// Label values of fallbackd_recovery_seconds{phase=...}; each is the difference of two stamps of a recovery.
enum class Phase : std::uint8_t { detect, verify, prepare, health_check, exec, ready, total };
std::string_view toString(Phase phase);

/// The result of the last check of a workload's binary in the cache.
enum class CoverageState : std::uint8_t { admitted, grace, expired, missing, refused };
std::string_view toString(CoverageState state);

struct Coverage {
  std::string workload;
  std::string binary;  // NAME@VERSION
  CoverageState state = CoverageState::missing;
  bool serves = false;                      // a recovery would find it: admitted, or an earlier copy is held
  std::optional<Wall::time_point> expires;  // of what is admitted
};

/// The processes that work on pods' files. The maps are keyed by kind of work and count since the start.
struct WorkerUsage {
  std::size_t workers = 0;
  std::size_t stuck = 0;
  std::map<std::string, std::uint64_t> missed;
  std::map<std::string, std::uint64_t> refused;
};

/// Since the start.
struct CredentialProviderRuns {
  std::map<std::string, std::uint64_t> ended;  // by result
  std::uint64_t notWaitedFor = 0;
};

struct MetricDescription {
  struct Label {
    std::string name;
    std::string values;
  };
  std::string name;
  std::string type;
  std::string help;
  std::vector<Label> labels;
};

class Metrics {
 public:
  static constexpr std::string_view kTextType = "text/plain; version=0.0.4; charset=utf-8";
  static constexpr std::string_view kOpenMetricsType =
      "application/openmetrics-text; version=1.0.0; charset=utf-8";

  explicit Metrics(std::string_view version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// The configuration in use from now on: its workloads get their series, so that a first recovery shows as
  /// a rise from 0 and not as a new series.
  void configured(const config::Config& config);

  /// `recovery` is the recovery's id, for the exemplars.
  void recoveryBegun(const std::string& workload, Cause cause);
  void phase(const std::string& workload, Cause cause, Phase phase, Monotonic::duration duration,
             const std::string& recovery);
  /// outcome: handed_back, completed, pod_gone, withdrawn, failed; stage and reason are empty unless it
  /// failed.
  void recoveryEnded(const std::string& workload, Cause cause, std::string_view outcome,
                     std::string_view stage, std::string_view reason, const std::string& recovery);
  void activeFallbacks(const std::string& workload, int change);
  /// The fallback of the recovery is ready since then; counts as time in fallback until fallbackServed().
  void fallbackServes(const std::string& workload, const std::string& recovery, Stamp since);
  void fallbackServed(const std::string& workload, const std::string& recovery, Stamp until);
  /// kind: exited, signaled, oom_killed, unknown
  void fallbackExit(const std::string& workload, std::string_view kind);
  void handBackGap(const std::string& workload, Monotonic::duration gap, const std::string& recovery);
  void adoption(bool adopted);

  /// result: a cause, "pulled" or "undecided"
  void probe(std::string_view result);
  void waitingContainers(std::size_t count);
  /// Those of them that are missing although their image is there, by what kubelet is known to be held up by:
  /// "pull", "back_off", "unknown". Replaces earlier values.
  void notStarted(const std::map<std::string_view, std::size_t>& counts);
  void sandboxImagePresent(bool present);
  /// 0 closed, 1 half open, 2 open; replaces earlier values. The hosts must be a bounded set.
  void registryCircuits(const std::map<std::string, int>& states);
  /// Calls sent to containerd since the start, by method.
  void containerdCalls(const std::map<std::string, std::uint64_t>& totals);
  void containerdConnected(bool connected);

  /// result: "admitted", or the reason of the refusal
  void admission(std::string_view result);
  /// A recovery used an expired binary within expiryGrace.
  void graceUsed(const std::string& binary);
  /// For every configured workload; replaces earlier values.
  void coverage(const std::vector<Coverage>& all);
  /// Real containers of each workload on this node; replaces earlier values.
  void runningContainers(const std::map<std::string, VersionSkew>& all);

  /// hashed: by all admissions since the start
  void cacheUsage(std::uint64_t residentBytes, std::uint64_t budgetBytes, std::uint64_t hashedBytes);

  void configLoaded(bool successful);
  /// A change of the journal, and its number of entries now.
  void journalWritten(bool successful, std::size_t entries);
  void journalRemoved(bool successful, std::size_t entries);
  /// Entries found at the start.
  void journalRead(std::size_t entries, std::size_t damaged);
  /// Since the start.
  void spawnerRestarts(unsigned total);
  void workerUsage(const WorkerUsage& usage);
  void credentialProviders(const CredentialProviderRuns& runs);
  /// The loop hung for this long and responds again.
  void loopStalled();
  void loopTurnsAgain(Monotonic::duration after);

  /// Text exposition format 0.0.4: kTextType.
  [[nodiscard]] std::string serialize() const;
  /// OpenMetrics 1.0 with exemplars {recovery="ID"}: kOpenMetricsType.
  [[nodiscard]] std::string serializeOpenMetrics() const;
  /// Everything that can be exported, whether it has series or not.
  [[nodiscard]] const std::vector<MetricDescription>& descriptions() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// deploy/METRICS.md
std::string metricsPage(const std::vector<MetricDescription>& metrics);

}  // namespace fallbackd::telemetry
