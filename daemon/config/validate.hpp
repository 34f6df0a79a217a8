// SPDX-License-Identifier: Apache-2.0
// What only shows when all workloads are seen together.
#pragma once

#include "config/raw.hpp"

#include <cstddef>
#include <vector>

namespace fallbackd::config {

/// Every one is compared with every other: this many take well under a second.
inline constexpr std::size_t kMaxWorkloads = 4096;

/// Reports two workloads of one name, two that could cover the same container of the same pod, and too many.
void compareWorkloads(const std::vector<RawWorkload>& workloads, Problems& problems);

/// Whether some container of some pod could be covered by both.
bool overlap(const Match& left, const Match& right);

}  // namespace fallbackd::config
