// SPDX-License-Identifier: Apache-2.0
#include "config/text_form.hpp"

#include <algorithm>
#include <cstdint>

namespace fallbackd::config {

namespace {

constexpr bool isContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

/// Length of the well-formed UTF-8 sequence at the front of `text`; 0 if it is malformed (RFC 3629).
std::size_t sequenceLength(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  if (!std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(length), isContinuation)) {
    return 0;
  }
  // The second byte shows overlong forms, surrogates and code points above U+10FFFF.
  const auto second = static_cast<unsigned char>(text[1]);
  if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) || (lead == 0xF0 && second < 0x90) ||
      (lead == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return length;
}

constexpr bool isControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7F;
}

}  // namespace

TextPlaces::TextPlaces(std::string_view text) : text_(text), starts_{0} {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\n') starts_.push_back(at + 1);
    if (isContinuation(text[at])) continuations_.push_back(at);
  }
}

std::size_t TextPlaces::indexOf(std::size_t byte) const {
  return static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), byte) - starts_.begin()) -
         1;
}

TextPlaces::LineColumn TextPlaces::of(std::size_t byte) const {
  byte = std::min(byte, text_.size());
  const auto index = indexOf(byte);
  const auto start = starts_[index];
  const auto skipped = std::lower_bound(continuations_.begin(), continuations_.end(), byte) -
                       std::lower_bound(continuations_.begin(), continuations_.end(), start);
  return {static_cast<int>(index) + 1, static_cast<int>(byte - start) - static_cast<int>(skipped) + 1};
}

std::string_view TextPlaces::lineOf(std::size_t byte) const {
  const auto start = starts_[indexOf(std::min(byte, text_.size()))];
  return text_.substr(start, text_.find('\n', start) - start);
}

std::optional<TextFault> findFault(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto length = sequenceLength(text.substr(at));
    if (length == 0) return TextFault{at, "is not UTF-8 text", "save the file as UTF-8"};
    if (isControl(text[at])) {
      return TextFault{at, "holds a control character", "write it as \\x.. between double quotes"};
    }
    at += length;
  }
  return std::nullopt;
}

bool quoteEnds(std::string_view text, std::size_t byte) {
  const char quote = text[byte];
  for (std::size_t at = byte + 1; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text[at] == quote) {
      if (quote == '"' || at + 1 == text.size() || text[at + 1] != '\'') return true;
      ++at;
    }
  }
  return false;
}

}  // namespace fallbackd::config
