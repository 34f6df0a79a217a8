// SPDX-License-Identifier: Apache-2.0
// How far a long copy is, on stderr: one line that is rewritten on a terminal, a line every few seconds in a
// log. A copy that ends sooner prints nothing.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace fallbackd::ctl {

class Progress {
 public:
  enum class Form : std::uint8_t { terminal, log };
  using Sink = std::function<void(const std::string& text)>;

  /// `what`: "copied", "packed". `total` in bytes, 0 if it is not known.
  Progress(std::string what, std::uint64_t total);
  Progress(std::string what, std::uint64_t total, Form form, Sink sink, const Clock& clock);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Removes its line from the terminal.
  ~Progress();

  /// Counts this many more bytes.
  void add(std::uint64_t bytes);

 private:
  std::string what_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  Form form_;
  Sink sink_;
  const Clock& clock_;
  Stamp shownAt_;
  bool shown_ = false;
};

}  // namespace fallbackd::ctl
