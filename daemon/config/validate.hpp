// What only shows when all workloads are seen together.
#pragma once

#include "config/raw.hpp"

#include <vector>

namespace fallbackd::config {

/// Two workloads of one name, and two that could cover the same container of the same pod.
void compareWorkloads(const std::vector<RawWorkload>& workloads, Problems& problems);

/// Whether some pod could be covered by both.
bool overlap(const Match& left, const Match& right);

}  // namespace fallbackd::config
