// The seccomp filter of every fallback: what runtimes call RuntimeDefault, for a process without
// capabilities.
#pragma once

#include "base/error.hpp"

#include <linux/filter.h>
#include <vector>

namespace fallbackd::launcher {

/// Compiled once at start: loading it in a child is one system call. Denied calls give EPERM; those that the
/// C library knows how to do without (clone3, calls newer than this list) give ENOSYS.
Result<std::vector<sock_filter>> compileSeccompFilter();

}  // namespace fallbackd::launcher
