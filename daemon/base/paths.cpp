// SPDX-License-Identifier: Apache-2.0
#include "base/paths.hpp"

#include "base/strings.hpp"

#include <algorithm>

namespace fallbackd {

bool isCleanPath(std::string_view path) {
  if (!path.starts_with('/')) return false;
  if (path == "/") return true;
  const auto parts = split(path.substr(1), '/');
  return std::none_of(parts.begin(), parts.end(),
                      [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

}  // namespace fallbackd
