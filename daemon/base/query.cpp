// SPDX-License-Identifier: Apache-2.0
#include "base/query.hpp"

#include "base/strings.hpp"

#include <charconv>

namespace fallbackd {

namespace {

std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      out.push_back(text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

}  // namespace

std::map<std::string, std::string> parseQuery(std::string_view query) {
  std::map<std::string, std::string> values;
  if (query.empty()) return values;
  for (const auto pair : split(query, '&')) {
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos) {
      values[decoded(pair)] = "";
    } else {
      values[decoded(pair.substr(0, equals))] = decoded(pair.substr(equals + 1));
    }
  }
  return values;
}

std::string queryEscaped(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_';
    if (plain) {
      out.push_back(c);
    } else {
      out.append({'%', kDigits[byte >> 4], kDigits[byte & 0x0f]});
    }
  }
  return out;
}

}  // namespace fallbackd
