// SPDX-License-Identifier: Apache-2.0
// Metrics of the cache: admissions, memory, and what each workload would get. Thread-safe.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::telemetry {

struct MetricStore;

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

/// A rollback of the configuration, by the name of its binary.
struct RollbackInEffect {
  std::string name;
  bool inEffect = false;
};

class CacheMetrics {
 public:
  explicit CacheMetrics(MetricStore& store);

  void admitted();
  void refused(Reason reason);
  /// A recovery used an expired binary within expiryGrace.
  void graceUsed(const std::string& binary);
  /// For every configured workload; replaces earlier values.
  void coverage(const std::vector<Coverage>& all);
  /// All rollbacks of the configuration; replaces earlier values.
  void rollbacks(const std::vector<RollbackInEffect>& all);
  /// hashed: by all admissions since the start
  void usage(std::uint64_t residentBytes, std::uint64_t budgetBytes, std::uint64_t hashedBytes);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
