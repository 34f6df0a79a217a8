// SPDX-License-Identifier: Apache-2.0
// A container's log as its readers show it: the content of the lines, with parts joined.
#pragma once

#include "base/strings.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::test {

/// Parses "TIME STREAM F|P CONTENT" lines; omits an unfinished one.
inline std::vector<std::string> criLogLines(const std::string& log) {
  std::vector<std::string> lines;
  std::string parts;
  for (const auto line : split(log, '\n')) {
    std::string_view rest = line;
    bool full = false;
    for (int field = 0; field < 3; ++field) {
      full = rest.starts_with("F ");
      rest.remove_prefix(std::min(rest.find(' ') + 1, rest.size()));
    }
    parts.append(rest);
    if (!full) continue;
    lines.push_back(std::move(parts));
    parts.clear();
  }
  return lines;
}

}  // namespace fallbackd::test
