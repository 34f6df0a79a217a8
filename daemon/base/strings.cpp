// SPDX-License-Identifier: Apache-2.0
#include "base/strings.hpp"

#include <algorithm>
#include <numeric>

namespace fallbackd {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) {
    if (&part != parts.data()) text.append(separator);
    text.append(part);
  }
  return text;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string toHex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text.push_back(kDigits[std::to_integer<unsigned>(byte >> 4)]);
    text.push_back(kDigits[std::to_integer<unsigned>(byte & std::byte{0x0f})]);
  }
  return text;
}

bool isSha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<std::string_view> closest(std::string_view word, std::span<const std::string_view> candidates) {
  std::optional<std::string_view> best;
  std::size_t bestDistance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    // Levenshtein, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t substitution = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
      }
    }
    if (row.back() < bestDistance) {
      bestDistance = row.back();
      best = candidate;
    }
  }
  return best;
}

namespace {

/// Controls a terminal, or ends a line: DEL, C1, U+2028 and U+2029.
bool isControl(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0) == 0x7f;
  if (character.size() == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;
  return character == "\u2028" || character == "\u2029";
}

struct Character {
  std::string_view bytes;
  bool valid;  // false: a single byte that is not UTF-8
};

/// Takes the first character off `text`, which is not empty.
Character takeCharacter(std::string_view& text) {
  const auto length = utf8Length(text);
  const auto bytes = text.substr(0, std::max<std::size_t>(length, 1));
  text.remove_prefix(bytes.size());
  return {bytes, length != 0};
}

/// The same; returns the character as a message shows it.
std::string takeShown(std::string_view& text) {
  const auto [character, valid] = takeCharacter(text);
  const bool low = static_cast<unsigned char>(character.front()) < 0x20;
  if (valid && !low && !isControl(character)) return std::string(character);
  std::string escapes;
  for (const char& c : character) escapes.append("\\x").append(toHex(std::as_bytes(std::span(&c, 1))));
  return escapes;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) out.append(takeShown(text));
  return out;
}

std::string quoted(std::string_view text, std::size_t limit) {
  std::string out = "\"";
  while (!text.empty()) {
    auto piece = takeShown(text);
    if (piece == "\"" || piece == "\\") piece.insert(0, 1, '\\');
    if (out.size() - 1 + piece.size() > limit) {
      out.append("…");
      break;
    }
    out.append(piece);
  }
  out.push_back('"');
  return out;
}

std::size_t utf8Length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const auto second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool beyond = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
  return overlong || beyond ? 0 : length;
}

std::string cleanUtf8(std::string_view text, std::size_t limit, std::string_view ending) {
  std::string out;
  while (!text.empty()) {
    auto [character, valid] = takeCharacter(text);
    if (!valid || isControl(character)) character = "\ufffd";
    if (out.size() + character.size() > limit) return out.append(ending);
    out.append(character);
  }
  return out;
}

std::string asUtf8(std::string text) {
  std::string_view rest = text;
  bool valid = true;
  while (valid && !rest.empty()) valid = takeCharacter(rest).valid;
  if (valid) return text;
  std::string out(text, 0, text.size() - rest.size() - 1);
  out.append("\ufffd");
  while (!rest.empty()) {
    const auto next = takeCharacter(rest);
    out.append(next.valid ? next.bytes : "\ufffd");
  }
  return out;
}

}  // namespace fallbackd
