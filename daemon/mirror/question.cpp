// SPDX-License-Identifier: Apache-2.0
#include "mirror/question.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace fallbackd::mirror {

namespace {

constexpr std::string_view kBase = "/v2/";

/// Digits only; a number that is too large counts as the largest.
std::optional<std::int64_t> numberOf(std::string_view text) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), isDigit)) return std::nullopt;
  std::int64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  return code == std::errc() ? number : std::numeric_limits<std::int64_t>::max();
}

}  // namespace

std::optional<Asked> askedBy(std::string_view path, const std::map<std::string, std::string>& query) {
  if (path == kBase || path == "/v2") return Asked{};
  if (!path.starts_with(kBase)) return std::nullopt;
  path.remove_prefix(kBase.size());
  const auto slash = path.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto last = path.substr(slash + 1);
  auto name = path.substr(0, slash);
  // Of any algorithm: what we do not have must not hide an outage.
  const bool byDigest = last.find(':') != std::string_view::npos;
  Asked asked;
  if (name.ends_with("/manifests")) {
    asked.kind = Asked::Kind::manifest;
    name.remove_suffix(std::string_view("/manifests").size());
  } else if (name.ends_with("/blobs") && byDigest) {
    asked.kind = Asked::Kind::blob;
    name.remove_suffix(std::string_view("/blobs").size());
  } else {
    return std::nullopt;
  }
  const auto ns = query.find("ns");
  std::string text;
  std::string wanted;
  if (ns != query.end()) {
    const auto host = parseRegistryHost(ns->second);
    if (!host || !isRepositoryPath(name)) return std::nullopt;
    wanted = *host;
    text = wanted + "/";
  }
  text.append(name).append(byDigest ? "@" : ":").append(last);
  auto reference = ImageReference::parse(text);
  if (!reference || (!wanted.empty() && reference->host() != wanted)) return std::nullopt;
  asked.image = std::move(*reference);
  return asked;
}

RangeAsked rangeAsked(std::string_view header, std::int64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit) || header.find(',') != std::string_view::npos) return {};
  const auto text = trim(header.substr(kUnit.size()));
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return {};
  const auto from = numberOf(text.substr(0, dash));
  const auto to = numberOf(text.substr(dash + 1));
  if (dash == 0) {  // the last bytes
    if (!to) return {};
    if (*to == 0 || size == 0) return {std::nullopt, false};
    return {ByteRange{size - std::min(*to, size), size - 1}};
  }
  if (!from || (!to && dash + 1 != text.size()) || (to && *to < *from)) return {};
  if (*from >= size) return {std::nullopt, false};
  return {ByteRange{*from, std::min(to.value_or(size - 1), size - 1)}};
}

}  // namespace fallbackd::mirror
