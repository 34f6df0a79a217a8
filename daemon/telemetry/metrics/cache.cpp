// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/cache.hpp"

#include "telemetry/metrics/store.hpp"

#include <array>

namespace fallbackd::telemetry {

namespace {

constexpr std::array kCoverageStates{CoverageState::admitted, CoverageState::grace, CoverageState::expired,
                                     CoverageState::missing, CoverageState::refused};
constexpr const char* kAdmitted = "admitted";

}  // namespace

std::string_view toString(CoverageState state) {
  constexpr std::array<std::string_view, kCoverageStates.size()> kNames{"admitted", "grace", "expired",
                                                                        "missing", "refused"};
  return kNames.at(static_cast<std::size_t>(state));
}

CacheMetrics::CacheMetrics(MetricStore& store) : store_(store) {
  store_.admissions.Add({{"result", kAdmitted}});
}

void CacheMetrics::admitted() {
  store_.admissions.Add({{"result", kAdmitted}}).Increment();
}

void CacheMetrics::refused(Reason reason) {
  store_.admissions.Add({{"result", std::string(toString(reason))}}).Increment();
}

void CacheMetrics::graceUsed(const std::string& binary) {
  store_.graceUses.Add({{"binary", binary}}).Increment();
}

void CacheMetrics::coverage(const std::vector<Coverage>& all) {
  const std::lock_guard lock(store_.mutex);
  for (const auto& one : all) {
    store_.admittedNow.set({{"workload", one.workload}, {"binary", one.binary}}, one.serves ? 1 : 0);
    for (const auto state : kCoverageStates) {
      store_.coverageNow.set({{"workload", one.workload}, {"state", std::string(toString(state))}},
                             state == one.state ? 1 : 0);
    }
    if (one.expires) store_.expiryNow.set({{"workload", one.workload}}, unixTime(*one.expires));
  }
  store_.admittedNow.replaced();
  store_.coverageNow.replaced();
  store_.expiryNow.replaced();
}

void CacheMetrics::rollbacks(const std::vector<RollbackInEffect>& all) {
  const std::lock_guard lock(store_.mutex);
  for (const auto& one : all) store_.rollbacksNow.set({{"name", one.name}}, one.inEffect ? 1 : 0);
  store_.rollbacksNow.replaced();
}

void CacheMetrics::usage(std::uint64_t residentBytes, std::uint64_t budgetBytes, std::uint64_t hashedBytes) {
  store_.residentBytes.Add({}).Set(static_cast<double>(residentBytes));
  store_.budgetBytes.Add({}).Set(static_cast<double>(budgetBytes));
  raiseTo(store_.hashedBytes.Add({}), static_cast<double>(hashedBytes));
}

}  // namespace fallbackd::telemetry
