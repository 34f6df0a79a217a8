// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/detection.hpp"

#include "telemetry/metrics/store.hpp"

#include <array>

namespace fallbackd::telemetry {

std::string_view toString(ProbeResult result) {
  return result == ProbeResult::pulled ? "pulled" : "undecided";
}

std::string_view toString(ProviderResult result) {
  constexpr std::array<std::string_view, 6> kNames{"given",     "none",      "failed",
                                                   "malformed", "too_large", "timeout"};
  return kNames.at(static_cast<std::size_t>(result));
}

std::string_view toString(UnstickResult result) {
  constexpr std::array<std::string_view, 6> kNames{"ended",         "gone",          "proxy",
                                                   "not_permitted", "not_supported", "failed"};
  return kNames.at(static_cast<std::size_t>(result));
}

DetectionMetrics::DetectionMetrics(MetricStore& store) : store_(store) {
  store_.waiting.Add({}).Set(0);
  store_.connected.Add({}).Set(0);
  store_.connectionLosses.Add({});
  for (const auto result : {ProbeResult::pulled, ProbeResult::undecided}) {
    store_.probes.Add({{"result", std::string(toString(result))}});
  }
  for (const auto name : causeNames()) store_.probes.Add({{"result", std::string(name)}});
}

void DetectionMetrics::probe(ProbeResult result) {
  store_.probes.Add({{"result", std::string(toString(result))}}).Increment();
}

void DetectionMetrics::probeFailed(Cause cause) {
  store_.probes.Add({{"result", std::string(toString(cause))}}).Increment();
}

void DetectionMetrics::waitingContainers(std::size_t count) {
  store_.waiting.Add({}).Set(static_cast<double>(count));
}

void DetectionMetrics::notStarted(const NotStarted& counts) {
  const auto set = [&](const char* heldUpBy, std::size_t count) {
    store_.notStarted.Add({{"held_up_by", heldUpBy}}).Set(static_cast<double>(count));
  };
  set("pull", counts.byPull);
  set("back_off", counts.byBackOff);
  set("unknown", counts.unknown);
}

void DetectionMetrics::sandboxImagePresent(bool present) {
  store_.sandboxImage.Add({}).Set(present ? 1 : 0);
}

void DetectionMetrics::registryCircuits(const std::map<std::string, CircuitState>& states) {
  const std::lock_guard lock(store_.mutex);
  for (const auto& [host, state] : states) {
    store_.circuitsNow.set({{"host", host}}, static_cast<double>(state));
  }
  store_.circuitsNow.replaced();
}

void DetectionMetrics::containerdCalls(const std::map<std::string, std::uint64_t>& totals) {
  for (const auto& [method, total] : totals) {
    raiseTo(store_.calls.Add({{"method", method}}), static_cast<double>(total));
  }
}

void DetectionMetrics::containerdConnected(bool connected) {
  auto& now = store_.connected.Add({});
  if (!connected && now.Value() > 0) store_.connectionLosses.Add({}).Increment();
  now.Set(connected ? 1 : 0);
}

void DetectionMetrics::credentialProviders(const CredentialProviderRuns& runs) {
  for (const auto& [result, total] : runs.ended) {
    raiseTo(store_.providerRuns.Add({{"result", std::string(toString(result))}}), static_cast<double>(total));
  }
  raiseTo(store_.providersNotWaitedFor.Add({}), static_cast<double>(runs.notWaitedFor));
}

void DetectionMetrics::unstick(const std::map<UnstickResult, std::uint64_t>& totals) {
  for (const auto& [result, total] : totals) {
    raiseTo(store_.unstick.Add({{"result", std::string(toString(result))}}), static_cast<double>(total));
  }
}

}  // namespace fallbackd::telemetry
