// SPDX-License-Identifier: Apache-2.0
#include "base/paths.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <vector>

namespace fallbackd {

bool isCleanPath(std::string_view path) {
  if (!path.starts_with('/')) return false;
  if (path == "/") return true;
  const auto parts = split(path.substr(1), '/');
  return std::none_of(parts.begin(), parts.end(),
                      [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

std::string normalizedPath(std::string_view path) {
  std::vector<std::string_view> parts;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  std::string normal;
  for (const auto part : parts) normal.append("/").append(part);
  return normal.empty() ? "/" : normal;
}

}  // namespace fallbackd
