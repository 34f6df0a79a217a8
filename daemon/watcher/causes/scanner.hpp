// SPDX-License-Identifier: Apache-2.0
// Finds where a segment of a chain of wrapped errors ends. Go programs join a chain by ": "; the same two
// characters can stand inside a quoted string, a URL or an image reference, where they separate nothing.
#pragma once

#include "watcher/causes/reference_forms.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fallbackd::watcher {

class Scanner {
 public:
  /// Both must outlive the scanner.
  Scanner(std::string_view text, const ReferenceForms& forms) : text_(text), forms_(forms) {}

  /// Whether the segment can hold the reference, or a part of it, outside quotes and URLs.
  enum class Names : std::uint8_t { none, reference };

  /// The position of the ": " or the line break that ends the segment which begins at `from`.
  [[nodiscard]] std::size_t segmentEnd(std::size_t from, Names names) const;
  /// The position of the line break that ends the line of `from`; breaks inside quotes do not count.
  [[nodiscard]] std::size_t lineEnd(std::size_t from) const;
  /// The same for words that another program wrote: neither their quotes nor a written "\\n" mean anything.
  [[nodiscard]] std::size_t foreignLineEnd(std::size_t from) const;

  [[nodiscard]] bool breaksAt(std::size_t at) const { return at >= text_.size() || breakLength(at) > 0; }
  [[nodiscard]] std::size_t breakLength(std::size_t at) const;

  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] std::string_view from(std::size_t at) const {
    return at < text_.size() ? text_.substr(at) : std::string_view();
  }

 private:
  [[nodiscard]] std::size_t quotedEnd(std::size_t quote) const;
  [[nodiscard]] std::size_t urlEnd(std::size_t from) const;

  std::string_view text_;
  const ReferenceForms& forms_;
};

}  // namespace fallbackd::watcher
