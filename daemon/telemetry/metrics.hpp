// All metrics of the daemon, by what they mean. Names are stable; base units (seconds, bytes). Thread-safe.
#pragma once

#include "base/cause.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace fallbackd::telemetry {

/// Label values of fallbackd_recovery_seconds{phase=...}; each is a difference of two stamps of a recovery.
enum class Phase : std::uint8_t { detect, verify, prepare, health_check, exec, ready, total };
std::string_view toString(Phase phase);

class Metrics {
 public:
  explicit Metrics(std::string_view version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void phase(const std::string& workload, Cause cause, Phase phase, Monotonic::duration duration);
  /// outcome: handed_back, pod_gone, failed; stage and reason are empty unless it failed.
  void recoveryEnded(const std::string& workload, Cause cause, std::string_view outcome,
                     std::string_view stage, std::string_view reason);
  void activeFallbacks(const std::string& workload, int change);
  void fallbackTime(const std::string& workload, Monotonic::duration served);
  /// kind: exited, signaled, oom_killed, unknown
  void fallbackExit(const std::string& workload, std::string_view kind);
  void handBackGap(const std::string& workload, Monotonic::duration gap);

  /// result: a cause, "pulled" or "undecided"
  void probe(std::string_view result);
  void waitingContainers(std::size_t count);
  void sandboxImagePresent(bool present);
  /// 0 closed, 1 half open, 2 open; replaces what was set before. The hosts must be a bounded set.
  void registryCircuits(const std::map<std::string, int>& states);
  /// Calls sent to containerd since the start, by method.
  void containerdCalls(const std::map<std::string, std::uint64_t>& totals);
  void containerdConnected(bool connected);

  /// result: "admitted", or the reason of the refusal
  void admission(std::string_view result);
  /// Whether the workload's binary is admitted now: 1 or 0.
  void coverage(const std::string& workload, const std::string& binary, bool admitted);
  void clearCoverage();

  /// hashed: by all admissions since the start
  void cacheUsage(std::uint64_t residentBytes, std::uint64_t budgetBytes, std::uint64_t hashedBytes);

  void configLoaded(bool successful);
  void spawnerRestarted();

  /// Text exposition format 0.0.4.
  [[nodiscard]] std::string serialize() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace fallbackd::telemetry
