// SPDX-License-Identifier: Apache-2.0
#include "domain/binary_ref.hpp"

#include "domain/ascii.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace fallbackd {

namespace {

constexpr std::size_t kMaxName = 63;
constexpr std::size_t kMaxVersion = 64;

/// Position of "-v" followed by a digit in `text`. No name may contain it, so the first one in a file name
/// separates name and version.
std::size_t findSeam(std::string_view text) {
  for (auto at = text.find("-v"); at != std::string_view::npos; at = text.find("-v", at + 1)) {
    if (at + 2 < text.size() && isDigit(text[at + 2])) return at;
  }
  return std::string_view::npos;
}

bool validName(std::string_view name) {
  return !name.empty() && findSeam(name) == std::string_view::npos && name.size() <= kMaxName &&
         isLowerOrDigit(name.front()) && std::all_of(name.begin(), name.end(), [](char c) {
           return isLowerOrDigit(c) || c == '.' || c == '_' || c == '-';
         });
}

bool validVersion(std::string_view version) {
  return !version.empty() && version.size() <= kMaxVersion && isDigit(version.front()) &&
         std::all_of(version.begin(), version.end(), [](char c) {
           return isLowerOrDigit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '+' || c == '-';
         });
}

bool numeric(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), isDigit);
}

/// Compares two decimal numbers of any length.
std::weak_ordering compareNumbers(std::string_view left, std::string_view right) {
  left.remove_prefix(std::min(left.find_first_not_of('0'), left.size()));
  right.remove_prefix(std::min(right.find_first_not_of('0'), right.size()));
  if (left.size() != right.size()) return left.size() <=> right.size();
  return left.compare(right) <=> 0;
}

std::weak_ordering compareIdentifiers(std::string_view left, std::string_view right) {
  if (numeric(left) && numeric(right)) return compareNumbers(left, right);
  if (numeric(left) != numeric(right)) {
    return numeric(left) ? std::weak_ordering::less : std::weak_ordering::greater;
  }
  return left.compare(right) <=> 0;
}

/// `missing` stands for the parts that the shorter list lacks; without it the shorter list is less.
std::weak_ordering compareLists(std::string_view left, std::string_view right,
                                std::optional<std::string_view> missing) {
  const auto a = split(left, '.');
  const auto b = split(right, '.');
  for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    if (!missing && (i >= a.size() || i >= b.size())) return a.size() <=> b.size();
    const auto order = compareIdentifiers(i < a.size() ? a[i] : *missing, i < b.size() ? b[i] : *missing);
    if (order != 0) return order;
  }
  return std::weak_ordering::equivalent;
}

/// Splits "1.8.3-rc.1+build" into the core "1.8.3" and the pre-release "rc.1" (empty: a release).
std::pair<std::string_view, std::string_view> coreAndPreRelease(std::string_view version) {
  version = version.substr(0, version.find('+'));
  const auto dash = version.find('-');
  if (dash == std::string_view::npos) return {version, {}};
  return {version.substr(0, dash), version.substr(dash + 1)};
}

}  // namespace

Result<BinaryRef> parseBinaryRef(std::string_view text) {
  const auto at = text.find('@');
  if (at == std::string_view::npos) {
    return fail(Stage::config, Reason::invalid,
                quoted(text) + " names no version; write NAME@VERSION, for example checkout@1.8.3");
  }
  const auto name = text.substr(0, at);
  auto version = text.substr(at + 1);
  if (!validName(name)) {
    return fail(Stage::config, Reason::invalid,
                "binary name " + quoted(name) +
                    " must start with a-z or 0-9, hold only a-z 0-9 . _ - (no -v before a digit) "
                    "and have at most 63 characters");
  }
  if (version.starts_with('v')) {
    return fail(
        Stage::config, Reason::invalid,
        "version " + quoted(version) + " must be written without the v: " + std::string(version.substr(1)));
  }
  if (!validVersion(version)) {
    return fail(Stage::config, Reason::invalid,
                "version " + quoted(version) +
                    " must start with a digit, hold only 0-9 A-Z a-z . + - and have at most 64 characters");
  }
  return BinaryRef{std::string(name), std::string(version)};
}

std::optional<BinaryRef> parseBinaryFileName(std::string_view fileName) {
  const auto seam = findSeam(fileName);
  if (seam == std::string_view::npos) return std::nullopt;
  const auto name = fileName.substr(0, seam);
  const auto version = fileName.substr(seam + 2);
  if (!validName(name) || !validVersion(version)) return std::nullopt;
  return BinaryRef{std::string(name), std::string(version)};
}

std::weak_ordering compareVersions(std::string_view left, std::string_view right) {
  const auto [leftCore, leftPre] = coreAndPreRelease(left);
  const auto [rightCore, rightPre] = coreAndPreRelease(right);
  if (const auto order = compareLists(leftCore, rightCore, "0"); order != 0) return order;
  if (leftPre.empty() != rightPre.empty()) {
    return leftPre.empty() ? std::weak_ordering::greater : std::weak_ordering::less;
  }
  return compareLists(leftPre, rightPre, std::nullopt);
}

std::string_view versionOfTag(std::string_view tag) {
  if (tag.size() > 1 && tag.front() == 'v' && isDigit(tag[1])) tag.remove_prefix(1);
  return !tag.empty() && isDigit(tag.front()) ? tag : std::string_view();
}

std::optional<bool> sameVersion(std::string_view tag, std::string_view version) {
  const auto named = versionOfTag(tag);
  if (named.empty()) return std::nullopt;
  return named == version;
}

}  // namespace fallbackd
