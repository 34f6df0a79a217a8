// SPDX-License-Identifier: Apache-2.0
// Checks that need all workloads at once.
#pragma once

#include "config/raw.hpp"

#include <cstddef>
#include <vector>

namespace fallbackd::config {

/// Each is compared with every other; for this many that takes well under a second.
inline constexpr std::size_t kMaxWorkloads = 4096;

/// Reports two workloads with one name, two that could cover the same container of the same pod, and too many
/// workloads.
void compareWorkloads(const std::vector<RawWorkload>& workloads, Problems& problems);

/// Whether both could cover the same container of the same pod.
bool overlap(const Match& left, const Match& right);

}  // namespace fallbackd::config
