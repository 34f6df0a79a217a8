// SPDX-License-Identifier: Apache-2.0
// Runs other programs, for subcommands that are a thin layer over standard tools.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace fallbackd::ctl {

/// Runs argv[0], found in PATH, to its end, without a shell; it inherits our stderr. Returns what it wrote to
/// stdout. Stage cli; reasons not_found (not installed), invalid (its exit code is not 0), too_large (it
/// writes more than `maxOutput` bytes; we do not wait for the rest).
Result<std::string> runProgram(const std::vector<std::string>& argv, std::size_t maxOutput = 16UL << 20);

/// The same for a program that a person watches: what it writes to stdout goes to our stderr at once.
Result<> showProgram(const std::vector<std::string>& argv);

}  // namespace fallbackd::ctl
