// SPDX-License-Identifier: Apache-2.0
// How the daemon's heap behaves. A node's pods may carry 256 KiB of annotations each, so answers of the
// runtime are megabytes that live for a moment; glibc's defaults keep the freed memory.
#pragma once

#include <cstddef>

namespace fallbackd::app {

/// Makes glibc return large freed blocks to the kernel, and keeps the number of arenas fixed.
/// To be called once, before any thread is started. Does nothing with another allocator.
void keepHeapSmall();

/// Returns what is free inside the heap to the kernel, if that is more than `keptBytes`: a few live blocks
/// among many freed ones keep glibc from doing so by itself. Takes 0.3 ms, and 4 ms for 50 MiB; meanwhile
/// other threads wait for memory. Any thread. Does nothing with another allocator.
void returnFreeHeap(std::size_t keptBytes);

}  // namespace fallbackd::app
