// SPDX-License-Identifier: Apache-2.0
#include "cache/go_build.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <cstdint>

namespace fallbackd::cache {

namespace {

constexpr std::string_view kMagic = "\xff Go buildinf:";
constexpr std::size_t kFlagsAt = 15;
constexpr unsigned kInlineStrings = 2;
constexpr std::size_t kHeaderBytes = 32;
constexpr std::size_t kMaxText = 1 << 20;
constexpr std::size_t kSentinelBytes = 16;  // before and after the module information

/// Takes a text preceded by its length (unsigned LEB128) from the front of `rest`.
std::optional<std::string_view> takeText(std::string_view& rest) {
  std::uint64_t size = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    if (rest.empty()) return std::nullopt;
    const auto byte = static_cast<unsigned char>(rest.front());
    rest.remove_prefix(1);
    size |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
    if ((byte & 0x80U) != 0) continue;
    if (size > kMaxText || size > rest.size()) return std::nullopt;
    const auto text = rest.substr(0, size);
    rest.remove_prefix(size);
    return text;
  }
  return std::nullopt;
}

void readModule(std::string_view text, GoBuild& build) {
  if (text.size() <= 2 * kSentinelBytes) return;
  text = text.substr(kSentinelBytes, text.size() - 2 * kSentinelBytes);
  for (const auto line : split(text, '\n')) {
    const auto fields = split(line, '\t');
    if (fields.size() < 3 || fields[0] != "mod") continue;
    build.module = fields[1];
    build.moduleVersion = fields[2];
    return;
  }
}

bool isDigits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), &isDigit);
}

/// vX.Y.Z-yyyymmddhhmmss-commit, vX.Y.Z-pre.0.yyyymmddhhmmss-commit: an untagged commit.
bool isPseudoVersion(std::string_view version) {
  const auto commit = version.rfind('-');
  if (commit == std::string_view::npos || version.size() - commit - 1 != 12 || commit < 15) return false;
  const char before = version[commit - 15];
  return (before == '-' || before == '.') && isDigits(version.substr(commit - 14, 14));
}

}  // namespace

std::optional<GoBuild> findGoBuild(std::span<const std::byte> data) {
  const std::string_view bytes(static_cast<const char*>(static_cast<const void*>(data.data())), data.size());
  for (auto at = bytes.find(kMagic); at != std::string_view::npos; at = bytes.find(kMagic, at + 1)) {
    if (bytes.size() - at < kHeaderBytes) continue;
    if ((static_cast<unsigned char>(bytes[at + kFlagsAt]) & kInlineStrings) == 0) continue;
    auto rest = bytes.substr(at + kHeaderBytes);
    const auto goVersion = takeText(rest);
    if (!goVersion) continue;
    const auto module = takeText(rest);
    if (!module) continue;
    GoBuild build;
    build.goVersion = *goVersion;
    readModule(*module, build);
    return build;
  }
  return std::nullopt;
}

bool contradicts(std::string_view moduleVersion, std::string_view attested) {
  auto built = moduleVersion.substr(0, moduleVersion.find('+'));
  if (!built.starts_with('v') || isPseudoVersion(built)) return false;
  built.remove_prefix(1);
  if (!attested.starts_with(built)) return true;
  return attested.size() > built.size() && attested[built.size()] != '-' && attested[built.size()] != '+';
}

}  // namespace fallbackd::cache
