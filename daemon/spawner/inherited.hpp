// SPDX-License-Identifier: Apache-2.0
// What a fallback must not inherit from the process that started the daemon: ignored signals, raised limits.
#pragma once

#include "spawner/protocol.hpp"

#include <vector>

namespace fallbackd::launcher {

/// Signals that were ignored when the daemon was started stay ignored through every clone and exec unless
/// reset. Uses the bare system call: the C library reserves two signals and changes neither.
void resetSignals();

/// No core files, and no limits that were raised for the daemon: keeps hard limits, sets soft limits to the
/// usual values.
std::vector<ProcessLimit> containerLimits();

}  // namespace fallbackd::launcher
