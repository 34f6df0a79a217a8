// SPDX-License-Identifier: Apache-2.0
// Counts how often a text contains some words.
#pragma once

#include <cstddef>
#include <string_view>

namespace fallbackd::test {

inline std::size_t timesIn(std::string_view text, std::string_view words) {
  std::size_t count = 0;
  for (auto at = text.find(words); at != std::string_view::npos; at = text.find(words, at + 1)) ++count;
  return count;
}

}  // namespace fallbackd::test
