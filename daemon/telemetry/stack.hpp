// Where a thread of this process is, asked from another thread.
#pragma once

#include <string>
#include <sys/types.h>

namespace fallbackd::telemetry {

/// Readies the process for stackOf(): a signal handler, and what it needs loaded. Once, early.
void prepareStacks();

/// A line a call, the innermost first: the kernel's part where the thread is in a system call, then the
/// program's. Empty parts say why they are missing: a thread in an uninterruptible call runs no handler.
/// Blocks for up to half a second. One caller at a time.
std::string stackOf(pid_t thread);

}  // namespace fallbackd::telemetry
