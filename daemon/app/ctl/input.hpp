// SPDX-License-Identifier: Apache-2.0
// Files that a command reads, standard input among them.
#pragma once

#include "base/error.hpp"

#include <string>

namespace fallbackd::ctl {

/// The content of a file; of standard input for "-", which must not be a terminal. Stage cli.
Result<std::string> readInput(const std::string& file);

}  // namespace fallbackd::ctl
