// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/scanner.hpp"

#include <algorithm>

namespace fallbackd::watcher {

std::size_t Scanner::breakLength(std::size_t at) const {
  const auto rest = from(at);
  if (rest.starts_with('\n')) return 1;
  // Logs and tables write a line break like this.
  return rest.starts_with("\\n") ? 2 : 0;
}

/// The position after the closing quote; `quote` + 1 where the string never ends.
std::size_t Scanner::quotedEnd(std::size_t quote) const {
  const auto inside = from(quote + 1);
  if (const auto exact = forms_.wholeBefore(inside, "\""); exact > 0) return quote + exact + 2;
  for (std::size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] == '\n') break;  // Go writes it as \n inside quotes
    if (inside[i] == '\\') {
      ++i;
    } else if (inside[i] == '"') {
      return quote + i + 2;
    }
  }
  return quote + 1;
}

/// containerd 1.6 and 1.7 write some URLs unescaped, so the parts of the reference count here too.
std::size_t Scanner::urlEnd(std::size_t begin) const {
  auto i = begin;
  while (i < text_.size()) {
    if (i == begin || text_[i - 1] == '/') {
      if (const auto length = forms_.unrulyInUrl(from(i)); length > 0) {
        i += length;
        continue;
      }
    }
    const char c = text_[i];
    if (c == ' ' || c == '"' || c == '\t' || breaksAt(i)) break;
    if (c == ':' && (breaksAt(i + 1) || text_[i + 1] == ' ')) break;
    ++i;
  }
  return i;
}

std::size_t Scanner::segmentEnd(std::size_t begin, Names names) const {
  constexpr std::string_view kBeforeName = " ([>";
  auto i = begin;
  while (i < text_.size()) {
    const bool startsWord = i == 0 || kBeforeName.find(text_[i - 1]) != std::string_view::npos;
    if (names == Names::reference && startsWord) {
      if (const auto length = forms_.unruly(from(i)); length > 0) {
        i += length;
        continue;
      }
    }
    if (breaksAt(i) || (text_[i] == ':' && (breaksAt(i + 1) || text_[i + 1] == ' '))) break;
    if (text_[i] == '"') {
      i = quotedEnd(i);
    } else if (from(i).starts_with("://")) {
      i = urlEnd(i + 3);
    } else {
      ++i;
    }
  }
  return i;
}

std::size_t Scanner::lineEnd(std::size_t begin) const {
  auto i = begin;
  while (!breaksAt(i)) {
    i = segmentEnd(i, Names::reference);
    if (!breaksAt(i)) ++i;
  }
  return i;
}

std::size_t Scanner::foreignLineEnd(std::size_t begin) const {
  return std::min(text_.find('\n', begin), text_.size());
}

}  // namespace fallbackd::watcher
