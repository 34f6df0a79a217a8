// SPDX-License-Identifier: Apache-2.0
// Classes of ASCII characters that names and references are made of, whatever the locale.
#pragma once

#include "base/strings.hpp"

namespace fallbackd {

constexpr bool isLower(char c) {
  return c >= 'a' && c <= 'z';
}

constexpr bool isLowerOrDigit(char c) {
  return isLower(c) || isDigit(c);
}

}  // namespace fallbackd
