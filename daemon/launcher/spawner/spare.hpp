// A process made before it is needed. Forking copies page tables, and costs more than most of a launch; so
// it is done while nothing happens. The spare waits in a mount namespace of its own, with what every root
// holds, for one order; the process that becomes the binary is then cloned from it, sharing its memory.
#pragma once

#include "launcher/protocol.hpp"

#include <vector>

namespace fallbackd::launcher {

/// Runs in the spare, whose mount namespace is new: by `orders` the daemon gives it its one order, `reports`
/// is the pipe of that launch. Ends with a report where it cannot do its part; else it is to be killed when
/// what was cloned from it has executed or ended, or ends with the spawner.
[[noreturn]] void runSpare(int orders, int reports, const std::vector<ProcessLimit>& limits);

/// The part of it in root.cpp: mounts the new root, makes what does not depend on an order, and enters it.
void buildBareRoot(int reports);

}  // namespace fallbackd::launcher
