// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/output.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

namespace fallbackd::ctl {

void complain(const std::string& text) {
  // Some have several lines.
  std::vector<std::string> lines;
  for (const auto line : split(text, '\n')) lines.push_back(escaped(line));
  std::fprintf(stderr, "fallbackctl: %s\n", join(lines, "\n").c_str());
}

int complain(const Error& error) {
  complain(error.message());
  return kFailed;
}

int exitCodeOf(const Result<>& done) {
  if (done) return kOk;
  complain(done.error());
  const auto& error = done.error();
  return error.reason == Reason::usage || error.stage == Stage::config ? kUsage : kFailed;
}

int afterOutput(int code) {
  const int error = std::fflush(stdout) == 0 ? 0 : errno;
  if (error == 0 && std::ferror(stdout) == 0) return code;
  complain("cannot write to standard output" + (error == 0 ? std::string() : ": " + errnoText(error)));
  return code == kOk ? kFailed : code;
}

void printTable(const std::vector<std::vector<std::string>>& given) {
  auto rows = given;
  for (auto& row : rows) {
    for (auto& cell : row) cell = escaped(cell);
  }
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    if (row.size() == 1 && rows.front().size() > 1) continue;
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line.append(row[i]);
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

std::string humanBytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  const int size =
      std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits.at(unit));
  return {text.data(), static_cast<std::size_t>(size)};
}

}  // namespace fallbackd::ctl
