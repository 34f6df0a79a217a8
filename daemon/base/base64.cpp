// SPDX-License-Identifier: Apache-2.0
#include "base/base64.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace fallbackd {

namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int sextet(char c) {
  if (c == '-') c = '+';
  if (c == '_') c = '/';
  const auto at = kAlphabet.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

tl::unexpected<std::string_view> refused(std::string_view why) {
  return tl::unexpected<std::string_view>(why);
}

}  // namespace

tl::expected<std::string, std::string_view> decodeBase64(std::string_view text) {
  const bool standard = text.find_first_of("+/") != std::string_view::npos;
  const bool url = text.find_first_of("-_") != std::string_view::npos;
  if (standard && url) return refused("mixes both base64 alphabets");
  std::size_t padding = 0;
  while (!text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  if (padding > 2 || (padding != 0 && (text.size() + padding) % 4 != 0) || text.size() % 4 == 1) {
    return refused("is not base64: wrong length");
  }
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  std::uint32_t buffer = 0;
  int bits = 0;
  for (const char c : text) {
    const int value = sextet(c);
    if (value < 0) return refused("is not base64");
    buffer = (buffer << 6U) | static_cast<std::uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<char>((buffer >> static_cast<unsigned>(bits)) & 0xffU));
    }
  }
  // Unused bits must be zero, or one text would have several spellings.
  if ((buffer & ((1U << static_cast<unsigned>(bits)) - 1U)) != 0) return refused("is not canonical base64");
  return bytes;
}

std::string encodeBase64(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::array<std::uint32_t, 3> in{};
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    for (std::size_t i = 0; i < count; ++i) in.at(i) = static_cast<unsigned char>(bytes[at + i]);
    const std::uint32_t group = (in[0] << 16U) | (in[1] << 8U) | in[2];
    for (std::size_t i = 0; i < 4; ++i) {
      text.push_back(i <= count ? kAlphabet[(group >> (18U - 6U * static_cast<unsigned>(i))) & 63U] : '=');
    }
  }
  return text;
}

}  // namespace fallbackd
