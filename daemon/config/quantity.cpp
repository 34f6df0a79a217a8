// SPDX-License-Identifier: Apache-2.0
#include "config/quantity.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace fallbackd::config {

namespace {

struct Suffix {
  std::string_view text;
  double factor;
};
constexpr std::array kByteSuffixes{Suffix{"", 1},
                                   Suffix{"k", 1e3},
                                   Suffix{"M", 1e6},
                                   Suffix{"G", 1e9},
                                   Suffix{"T", 1e12},
                                   Suffix{"P", 1e15},
                                   Suffix{"Ki", 1024.0},
                                   Suffix{"Mi", 1048576.0},
                                   Suffix{"Gi", 1073741824.0},
                                   Suffix{"Ti", 1099511627776.0},
                                   Suffix{"Pi", 1125899906842624.0}};

/// The number at the front; `rest` is what follows.
std::optional<double> leadingNumber(std::string_view text, std::string_view& rest) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  double number = 0;
  const auto [end, code] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (code != std::errc{}) return std::nullopt;
  rest = text.substr(static_cast<std::size_t>(end - text.data()));
  return number;
}

}  // namespace

std::optional<std::uint64_t> parseBytes(std::string_view text) {
  std::string_view rest;
  const auto number = leadingNumber(text, rest);
  if (!number) return std::nullopt;
  for (const auto& suffix : kByteSuffixes) {
    if (rest != suffix.text) continue;
    const double bytes = std::ceil(*number * suffix.factor);
    if (bytes >= 9.2e18) return std::nullopt;
    return static_cast<std::uint64_t>(bytes);
  }
  return std::nullopt;
}

std::optional<double> parseCpus(std::string_view text) {
  std::string_view rest;
  auto number = leadingNumber(text, rest);
  if (!number || (!rest.empty() && rest != "m")) return std::nullopt;
  const double cpus = rest.empty() ? *number : *number / 1000;
  if (cpus <= 0 || cpus > 1024) return std::nullopt;
  return cpus;
}

}  // namespace fallbackd::config
