// SPDX-License-Identifier: Apache-2.0
// Files that must not replace others: private keys, attestations.
#pragma once

#include "base/error.hpp"

#include <string>
#include <sys/stat.h>

namespace fallbackd::ctl {

/// Writes it to the disk before it returns. Stage cli; reason already_exists if there is anything at `path`.
Result<> writeNewFile(const std::string& path, const std::string& text, mode_t mode);

}  // namespace fallbackd::ctl
