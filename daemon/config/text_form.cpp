// SPDX-License-Identifier: Apache-2.0
#include "config/text_form.hpp"

#include "base/strings.hpp"

#include <algorithm>

namespace fallbackd::config {

namespace {

constexpr bool isContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
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
    const auto length = utf8Length(text.substr(at));
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
