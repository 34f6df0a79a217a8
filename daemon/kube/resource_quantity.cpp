// SPDX-License-Identifier: Apache-2.0
#include "kube/resource_quantity.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <string>

namespace fallbackd::kube {

namespace {

using WideNumber = unsigned __int128;

constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kBillion = 1'000'000'000;
constexpr std::uint64_t kFractionUnit = 1'000'000'000'000'000'000;  // 10^18: 18 decimals are kept
constexpr std::size_t kFractionDigits = 18;
constexpr int kMaxExponent = 18;
constexpr std::size_t kMaxLength = 64;

struct Scale {
  std::string_view suffix;
  std::uint64_t times;
  std::uint64_t dividedBy = 1;
};
constexpr std::array kScales{Scale{"", 1},
                             Scale{"n", 1, kBillion},
                             Scale{"u", 1, 1'000'000},
                             Scale{"m", 1, 1000},
                             Scale{"k", 1000},
                             Scale{"M", 1'000'000},
                             Scale{"G", kBillion},
                             Scale{"T", kBillion * 1000},
                             Scale{"P", kBillion * 1'000'000},
                             Scale{"E", kFractionUnit},
                             Scale{"Ki", 1ULL << 10},
                             Scale{"Mi", 1ULL << 20},
                             Scale{"Gi", 1ULL << 30},
                             Scale{"Ti", 1ULL << 40},
                             Scale{"Pi", 1ULL << 50},
                             Scale{"Ei", 1ULL << 60}};

std::uint64_t powerOfTen(int exponent) {
  std::uint64_t power = 1;
  for (int i = 0; i < exponent; ++i) power *= 10;
  return power;
}

/// "e3", "E-2". An exponent beyond what a number of 64 bits can show is taken as the largest.
std::optional<Scale> exponentOf(std::string_view text) {
  if (text.size() < 2 || (text[0] != 'e' && text[0] != 'E')) return std::nullopt;
  text.remove_prefix(1);
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  if (text.empty() || !std::all_of(text.begin(), text.end(), isDigit)) return std::nullopt;
  int exponent = 0;
  for (const char c : text) exponent = std::min(exponent * 10 + (c - '0'), kMaxExponent);
  const auto power = powerOfTen(exponent);
  return negative ? Scale{"", 1, power} : Scale{"", power};
}

std::optional<Scale> scaleOf(std::string_view suffix) {
  for (const auto& scale : kScales) {
    if (scale.suffix == suffix) return scale;
  }
  return exponentOf(suffix);
}

WideNumber dividedRoundingUp(WideNumber number, WideNumber by) {
  return number / by + (number % by == 0 ? 0 : 1);
}

/// The whole part, at most kLargest.
std::uint64_t wholeOf(std::string_view digits) {
  std::uint64_t whole = 0;
  for (const char c : digits) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (whole > (kLargest - digit) / 10) return kLargest;
    whole = whole * 10 + digit;
  }
  return whole;
}

/// In 10^-18; further digits count as one more, because everything is rounded up in the end.
std::uint64_t fractionOf(std::string_view digits) {
  std::string kept(digits.substr(0, kFractionDigits));
  kept.resize(kFractionDigits, '0');
  const auto rest = digits.substr(std::min(kFractionDigits, digits.size()));
  const bool more = rest.find_first_not_of('0') != std::string_view::npos;
  return wholeOf(kept) + (more ? 1 : 0);
}

}  // namespace

std::optional<ResourceQuantity> ResourceQuantity::parse(std::string_view text) {
  if (text.size() > kMaxLength) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto isNumeric = [](char c) { return isDigit(c) || c == '.'; };
  const auto end =
      static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), isNumeric) - text.begin());
  const auto number = text.substr(0, end);
  const auto scale = scaleOf(text.substr(end));
  const auto dot = number.find('.');
  const auto whole = number.substr(0, dot);
  const auto fraction = dot == std::string_view::npos ? std::string_view() : number.substr(dot + 1);
  if (!scale || (whole.empty() && fraction.empty()) || fraction.find('.') != std::string_view::npos) {
    return std::nullopt;
  }
  const WideNumber limit = WideNumber{kLargest} * kBillion;
  ResourceQuantity quantity;
  const WideNumber units = WideNumber{wholeOf(whole)} * scale->times;
  if (units > WideNumber{kLargest} * scale->dividedBy) {
    quantity.billionths_ = limit;
    return quantity;
  }
  // A scale multiplies or divides, never both, so that nothing here reaches 2^128.
  const WideNumber fractionPart =
      dividedRoundingUp(WideNumber{fractionOf(fraction)} * scale->times, kFractionUnit / kBillion);
  quantity.billionths_ =
      std::min(limit, dividedRoundingUp(units * kBillion + fractionPart, scale->dividedBy));
  return quantity;
}

std::int64_t ResourceQuantity::units() const {
  return static_cast<std::int64_t>(dividedRoundingUp(billionths_, kBillion));
}

std::int64_t ResourceQuantity::thousandths() const {
  const WideNumber number = dividedRoundingUp(billionths_, kBillion / 1000);
  return static_cast<std::int64_t>(std::min(number, WideNumber{kLargest}));
}

}  // namespace fallbackd::kube
