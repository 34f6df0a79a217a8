// SPDX-License-Identifier: Apache-2.0
// Metrics of the daemon itself: configuration, event loop, spawner and workers. Thread-safe.
#pragma once

#include "base/clock.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace fallbackd::telemetry {

struct MetricStore;

/// How a read of the configuration ended.
enum class ConfigLoad : std::uint8_t { ok, refused };
std::string_view toString(ConfigLoad load);

/// The processes that work on pods' files. The maps are keyed by kind of work and count since the start.
struct WorkerUsage {
  std::size_t workers = 0;
  std::size_t stuck = 0;
  std::map<std::string, std::uint64_t> missed;
  std::map<std::string, std::uint64_t> refused;
};

class DaemonMetrics {
 public:
  DaemonMetrics(MetricStore& store, std::string_view version);

  void configLoaded(ConfigLoad load);
  /// Since the start.
  void spawnerRestarts(unsigned total);
  void workerUsage(const WorkerUsage& usage);
  /// The loop hung for this long and responds again.
  void loopStalled();
  void loopTurnsAgain(Monotonic::duration after);

 private:
  MetricStore& store_;
};

}  // namespace fallbackd::telemetry
