// SPDX-License-Identifier: Apache-2.0
// How the daemon's heap behaves. A node's pods may carry 256 KiB of annotations each, so answers of the
// runtime are megabytes that live for a moment; glibc's defaults keep what they left behind.
#pragma once

namespace fallbackd::app {

/// Makes glibc return large freed blocks to the kernel, and keeps the number of arenas fixed.
/// To be called once, before any thread is started. Does nothing with another allocator.
void keepHeapSmall();

}  // namespace fallbackd::app
