// SPDX-License-Identifier: Apache-2.0
// Paths as text.
#pragma once

#include <string>
#include <string_view>

namespace fallbackd {

/// Absolute, without "." and ".." parts, without doubled or trailing slashes.
bool isCleanPath(std::string_view path);

/// The clean path, as kubelet and the runtime resolve it: ".." does not lead above "/". Does not look at the
/// file system.
std::string normalizedPath(std::string_view path);

}  // namespace fallbackd
