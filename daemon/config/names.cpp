// SPDX-License-Identifier: Apache-2.0
#include "config/names.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>

namespace fallbackd::config {

namespace {

constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxSubdomain = 253;

constexpr bool isLower(char c) {
  return c >= 'a' && c <= 'z';
}
constexpr bool isAlnum(char c) {
  return isLower(c) || isDigit(c) || (c >= 'A' && c <= 'Z');
}

}  // namespace

bool isDnsLabel(std::string_view text) {
  const auto alnum = [](char c) { return isLower(c) || isDigit(c); };
  return !text.empty() && text.size() <= kMaxLabel && alnum(text.front()) && alnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return alnum(c) || c == '-'; });
}

bool isLabelValue(std::string_view text) {
  return text.empty() || (text.size() <= kMaxLabel && isAlnum(text.front()) && isAlnum(text.back()) &&
                          std::all_of(text.begin(), text.end(),
                                      [](char c) { return isAlnum(c) || c == '-' || c == '_' || c == '.'; }));
}

bool isLabelKey(std::string_view text) {
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto prefix = text.substr(0, slash);
    const auto parts = split(prefix, '.');
    if (prefix.size() > kMaxSubdomain || !std::all_of(parts.begin(), parts.end(), isDnsLabel)) return false;
    text.remove_prefix(slash + 1);
  }
  return !text.empty() && isLabelValue(text);
}

bool isSocketAddress(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  const auto number = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), port);
  if (code != std::errc{} || end != number.data() + number.size() || port == 0) return false;
  std::string host(text.substr(0, colon));
  int family = AF_INET;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    family = AF_INET6;
  }
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return ::inet_pton(family, host.c_str(), address.data()) == 1;
}

bool isLoopbackAddress(std::string_view text) {
  if (!isSocketAddress(text)) return false;
  const std::string host(text.substr(0, text.rfind(':')));
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24U) == 127;
  return host == "[::1]";
}

}  // namespace fallbackd::config
