// SPDX-License-Identifier: Apache-2.0
// Paths as text.
#pragma once

#include <string_view>

namespace fallbackd {

/// Absolute, without "." and ".." parts, without doubled or trailing slashes.
bool isCleanPath(std::string_view path);

}  // namespace fallbackd
