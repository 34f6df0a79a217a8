// SPDX-License-Identifier: Apache-2.0
// Metrics of detection: containerd, registries, probe pulls and the containers that wait. Thread-safe.
#pragma once

#include "domain/cause.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace fallbackd::telemetry {

struct MetricStore;

/// How a probe pull that did not fail ended; a failed one counts by its cause.
enum class ProbeResult : std::uint8_t { pulled, undecided };
std::string_view toString(ProbeResult result);

/// The gauge's value is the enum's.
enum class CircuitState : std::uint8_t { closed = 0, half_open = 1, open = 2 };

/// How a run of a credential provider ended.
enum class ProviderResult : std::uint8_t { given, none, failed, malformed, too_large, timeout };
std::string_view toString(ProviderResult result);

/// What was done with a stalled connection of containerd.
enum class UnstickResult : std::uint8_t { ended, gone, proxy, not_permitted, not_supported, failed };
std::string_view toString(UnstickResult result);

/// Since the start.
struct CredentialProviderRuns {
  std::map<ProviderResult, std::uint64_t> ended;
  std::uint64_t notWaitedFor = 0;
};

/// Containers that are missing although their image is there, by what is known to hold kubelet up.
struct NotStarted {
  std::size_t byPull = 0;
  std::size_t byBackOff = 0;
  std::size_t unknown = 0;
};

class DetectionMetrics {
 public:
  explicit DetectionMetrics(MetricStore& store);

  void probe(ProbeResult result);
  void probeFailed(Cause cause);
  void waitingContainers(std::size_t count);
  /// Among the waiting containers. Replaces earlier values.
  void notStarted(const NotStarted& counts);
  void sandboxImagePresent(bool present);
  /// Replaces earlier values. The hosts must be a bounded set.
  void registryCircuits(const std::map<std::string, CircuitState>& states);
  /// Calls sent to containerd since the start, by method.
  void containerdCalls(const std::map<std::string, std::uint64_t>& totals);
  void containerdConnected(bool connected);
  void credentialProviders(const CredentialProviderRuns& runs);
  /// Since the start.
  void unstick(const std::map<UnstickResult, std::uint64_t>& totals);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
