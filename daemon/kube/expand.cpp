// SPDX-License-Identifier: Apache-2.0
#include "kube/expand.hpp"

#include <cstddef>

namespace fallbackd::kube {

namespace {

/// kubelet converts the byte after a lone dollar sign to a character, so that a byte above 0x7f becomes two
/// bytes. We do the same, because what kubelet passes to the runtime counts.
void appendAsRune(std::string& text, char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x80) {
    text.push_back(c);
  } else {
    text.push_back(static_cast<char>(0xc0U | (byte >> 6U)));
    text.push_back(static_cast<char>(0x80U | (byte & 0x3fU)));
  }
}

}  // namespace

std::string asReference(std::string_view name) {
  return "$(" + std::string(name) + ")";
}

std::string expand(std::string_view input, const ValueOf& valueOf) {
  std::string out;
  std::size_t at = 0;
  while (at < input.size()) {
    const auto dollar = input.find('$', at);
    // A dollar sign at the very end is an ordinary character.
    if (dollar == std::string_view::npos || dollar + 1 == input.size()) break;
    out.append(input.substr(at, dollar - at));
    const char next = input[dollar + 1];
    at = dollar + 2;
    if (next == '$') {
      out.push_back('$');
    } else if (next != '(') {
      out.push_back('$');
      appendAsRune(out, next);
    } else if (const auto end = input.find(')', at); end != std::string_view::npos) {
      out.append(valueOf(input.substr(at, end - at)));
      at = end + 1;
    } else {
      out.append("$(");
    }
  }
  return out.append(input.substr(at));
}

}  // namespace fallbackd::kube
