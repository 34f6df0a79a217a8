// SPDX-License-Identifier: Apache-2.0
// A process made in advance. Forking copies page tables and costs more than most of a launch, so it is done
// while nothing else happens. The spare waits for one order in its own mount namespace, with the content of
// every root; the process that becomes the binary is then cloned from it and shares its memory.
#pragma once

#include "spawner/protocol.hpp"

#include <vector>

namespace fallbackd::launcher {

/// Runs in the spare, whose mount namespace is new. Its one order comes from the daemon through `orders`;
/// `reports` is the launch's pipe to the spawner. Ends with a report if it fails; otherwise it must be killed
/// once its child has executed or ended, or it ends with the spawner.
[[noreturn]] void runSpare(int orders, int reports, const std::vector<ProcessLimit>& limits);

}  // namespace fallbackd::launcher
