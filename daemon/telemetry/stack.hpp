// SPDX-License-Identifier: Apache-2.0
// Where a thread of this process is, queried from another thread.
#pragma once

#include <string>
#include <sys/types.h>

namespace fallbackd::telemetry {

/// Prepares the process for stackOf(): installs a signal handler and loads what it needs. Once, early.
void prepareStacks();

/// One line per call, the innermost first: the kernel's part if the thread is in a system call, then the
/// program's. Missing parts say why they are missing: a thread in an uninterruptible call runs no handler.
/// Blocks for up to half a second. One caller at a time.
std::string stackOf(pid_t thread);

}  // namespace fallbackd::telemetry
