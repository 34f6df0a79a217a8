// What the daemon itself takes of its machine, as the process_* metrics that every exporter has.
#pragma once

#include <optional>

namespace fallbackd::telemetry {

/// Seconds, bytes, counts. Of this process; the spawner is another one.
struct ProcessUsage {
  double cpuSeconds = 0;
  double startTime = 0;  // Unix time
  double residentBytes = 0;
  double virtualBytes = 0;
  double threads = 0;
  double openFds = 0;
  double maxFds = 0;
};

/// Reads /proc/self: some tens of microseconds. Empty where it cannot be read.
std::optional<ProcessUsage> processUsage();

}  // namespace fallbackd::telemetry
