// SPDX-License-Identifier: Apache-2.0
// Whether bytes are valid YAML text. Checked before yaml-cpp sees them, because it is lenient: it substitutes
// U+FFFD for invalid UTF-8, drops some control characters and stops at others.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

/// Finds the line and column of a byte. Columns count characters, as editors do, from 1.
class TextPlaces {
 public:
  explicit TextPlaces(std::string_view text);

  struct LineColumn {
    int line = 0;
    int column = 0;
  };
  [[nodiscard]] LineColumn of(std::size_t byte) const;
  /// The text of the line that holds the byte.
  [[nodiscard]] std::string_view lineOf(std::size_t byte) const;
  [[nodiscard]] std::string_view text() const { return text_; }

 private:
  [[nodiscard]] std::size_t indexOf(std::size_t byte) const;
  std::string_view text_;
  std::vector<std::size_t> starts_;         // of each line
  std::vector<std::size_t> continuations_;  // bytes that do not begin a character
};

struct TextFault {
  std::size_t byte = 0;
  std::string message;
  std::string suggestion;
};

/// The first byte that YAML text may not contain, if any.
std::optional<TextFault> findFault(std::string_view text);

/// Whether the quoted text that begins at `byte` has a closing quote.
bool quoteEnds(std::string_view text, std::size_t byte);

}  // namespace fallbackd::config
