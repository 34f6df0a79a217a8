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

  /// The length of a whole reference, or of a part of it (host, repository, tag or digest), at the beginning
  /// of `text`. Only those count that hold a character on which the parser would split.
  [[nodiscard]] std::size_t unruly(std::string_view text) const;

 private:
  std::vector<std::string> whole_;   // longest first
  std::vector<std::string> unruly_;  // longest first
};

}  // namespace fallbackd::watcher
