// SPDX-License-Identifier: Apache-2.0
// What a fallback must not inherit from whoever started the daemon: ignored signals, raised limits.
#pragma once

#include "spawner/protocol.hpp"

#include <vector>

namespace fallbackd::launcher {

/// Signals that were ignored when the daemon was started stay ignored through every clone and exec unless
/// reset. Uses the bare system call: the C library reserves two signals and changes neither.
void resetSignals();

/// No core files, and not what somebody raised for the daemon: keeps hard limits, sets soft limits to the
/// usual.
std::vector<ProcessLimit> containerLimits();

}  // namespace fallbackd::launcher
