// SPDX-License-Identifier: Apache-2.0
// Whether bytes are a text that YAML can be made of. Checked before yaml-cpp sees them, because it is
// lenient: it puts U+FFFD for bytes that are no UTF-8, drops some control characters and ends at others.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

/// Finds line and column of a byte. Columns count characters, as editors do; from 1.
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
  std::vector<std::size_t> continuations_;  // bytes that begin no character
};

struct TextFault {
  std::size_t byte = 0;
  std::string message;
  std::string suggestion;
};

/// The first byte that no YAML text may hold, if there is one.
std::optional<TextFault> findFault(std::string_view text);

/// Whether the quoted text that begins with the quote at `byte` ends anywhere.
bool quoteEnds(std::string_view text, std::size_t byte);

}  // namespace fallbackd::config
