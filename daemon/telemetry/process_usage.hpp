// SPDX-License-Identifier: Apache-2.0
// The daemon's own resource usage, as the process_* metrics that every exporter has.
#pragma once

#include <optional>

namespace fallbackd::telemetry {

/// Seconds, bytes, counts. This process only; the spawner is a separate one.
struct ProcessUsage {
  double cpuSeconds = 0;
  double startTime = 0;  // Unix time
  double residentBytes = 0;
  double virtualBytes = 0;
  double threads = 0;
  double openFds = 0;
  double maxFds = 0;
};

/// Reads /proc/self: takes some tens of microseconds. Empty if it cannot be read.
std::optional<ProcessUsage> processUsage();

}  // namespace fallbackd::telemetry
