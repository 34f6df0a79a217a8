// SPDX-License-Identifier: Apache-2.0
// Every way in which containerd can write the image reference that it was asked for. A pod's author chooses
// the reference, so the parser takes these out by position and length, whatever characters they hold.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

class ReferenceForms {
 public:
  /// `reference` as it was sent to containerd; empty where it is not known. It need not be a valid one.
  explicit ReferenceForms(std::string_view reference);

  /// The length of a whole reference at the beginning of `text`, followed by `next`; 0 where there is none.
  [[nodiscard]] std::size_t wholeBefore(std::string_view text, std::string_view next) const;

  /// The length of a whole reference or of a part of it at the beginning of `text`, outside quotes and URLs.
  /// Counts only forms with a character on which the parser would split.
  [[nodiscard]] std::size_t unruly(std::string_view text) const;
  /// The same within a URL.
  [[nodiscard]] std::size_t unrulyInUrl(std::string_view text) const;

 private:
  // containerd writes a part only in front of certain words. Without them a part as short as a quotation
  // mark would be found everywhere.
  struct Part {
    std::string text;
    std::string_view next;
  };
  static std::size_t lengthAt(const std::vector<Part>& parts, std::string_view text);

  std::vector<std::string> whole_;
  std::vector<Part> plain_;
  std::vector<Part> inUrl_;
};

}  // namespace fallbackd::watcher
