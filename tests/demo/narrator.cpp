// SPDX-License-Identifier: Apache-2.0
#include "narrator.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace fallbackd::demo {

namespace {

constexpr const char* kBold = "1";
constexpr const char* kDim = "2";
constexpr const char* kGreen = "32";
constexpr const char* kRed = "31";
constexpr const char* kCyan = "36";

void line(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

}  // namespace

Narrator::Narrator()
    : colours_(::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr) {
}  // NOLINT(concurrency-mt-unsafe)

std::string Narrator::painted(const char* code, const std::string& text) const {
  return colours_ ? "\x1b[" + std::string(code) + "m" + text + "\x1b[0m" : text;
}

void Narrator::chapter(const std::string& title) {
  line("");
  line(painted(kBold, std::to_string(++chapters_) + "  " + title));
}

void Narrator::doing(const std::string& text) {
  line(painted(kDim, "   .. " + text));
}

void Narrator::seen(const std::string& text) {
  line("   " + painted(kGreen, "ok") + " " + text);
}

void Narrator::quote(const std::string& text) {
  line(painted(kCyan, "      " + text));
}

void Narrator::failure(const std::string& text) {
  line("   " + painted(kRed, "FAILED") + " " + text);
}

void Narrator::timeline(const std::vector<Mark>& marks) {
  constexpr double kColumns = 40;
  const double end = std::max(marks.empty() ? 0.0 : marks.back().millis, 0.001);
  double before = 0;
  for (const auto& mark : marks) {
    const auto from = static_cast<std::size_t>(before / end * kColumns);
    const auto to = std::max(static_cast<std::size_t>(mark.millis / end * kColumns), from + 1);
    char number[48];
    std::snprintf(number, sizeof number, "%8.1f ms  +%6.1f  ", mark.millis, mark.millis - before);
    line("   " + padded(mark.label, 36) + number + std::string(from, ' ') +
         painted(kGreen, std::string(to - from, '#')));
    before = mark.millis;
  }
}

void Narrator::table(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t width = 0;
  for (const auto& [label, value] : rows) width = std::max(width, label.size());
  for (const auto& [label, value] : rows) line("   " + padded(label, width + 2) + painted(kBold, value));
}

}  // namespace fallbackd::demo
