// SPDX-License-Identifier: Apache-2.0
// Small text helpers without a better home.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd {

/// An ASCII digit, whatever the locale.
constexpr bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

/// Splits at every `separator`; n separators give n+1 parts, empty ones too.
std::vector<std::string_view> split(std::string_view text, char separator);

std::string join(std::span<const std::string> parts, std::string_view separator);

std::string_view trim(std::string_view text);

/// Lower-case hexadecimal digits of `bytes`.
std::string toHex(std::span<const std::byte> bytes);

/// Whether it is a SHA-256 digest in the form that toHex() produces.
bool isSha256(std::string_view text);

/// The candidate nearest to `word` by edit distance, if it is near enough to be a typo.
std::optional<std::string_view> closest(std::string_view word, std::span<const std::string_view> candidates);

/// Foreign text for a terminal: control characters, and bytes that are not UTF-8, become \xNN.
std::string escaped(std::string_view text);

/// The same for a message: in double quotes, cut after the last character that fits into `limit` bytes.
std::string quoted(std::string_view text, std::size_t limit = 120);

/// The length of the UTF-8 character that `text`, which is not empty, begins with; 0 if it begins with none.
std::size_t utf8Length(std::string_view text);

/// Foreign text, such as error messages of registries, as UTF-8 that is safe on a terminal: invalid bytes and
/// control characters become U+FFFD. Characters below U+0020 stay: JSON escapes them. If the text exceeds
/// `limit` bytes, it is cut after the last character that fits, and `ending` is appended.
std::string cleanUtf8(std::string_view text, std::size_t limit, std::string_view ending = {});

/// `text` with U+FFFD in place of each byte that is not UTF-8: every parser accepts such a JSON document.
std::string asUtf8(std::string text);

}  // namespace fallbackd
