// SPDX-License-Identifier: Apache-2.0
#include "mirror/token.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <sys/random.h>
#include <sys/stat.h>

namespace fallbackd::mirror {

namespace {

constexpr std::size_t kMaxTokenFile = 4096;
constexpr std::size_t kTokenBytes = 32;
constexpr std::size_t kMinCharacters = 16;

Result<std::string> newToken() {
  std::array<std::byte, kTokenBytes> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return failErrno(Stage::config, "getrandom");
  }
  return toHex(bytes);
}

}  // namespace

Result<std::string> ensureToken(const std::string& file) {
  const auto text = sys::readFile(Stage::config, file, kMaxTokenFile);
  if (text) {
    struct stat facts {};
    if (::stat(file.c_str(), &facts) != 0) return failErrno(Stage::config, "stat " + file);
    if ((facts.st_mode & 0077U) != 0) {
      return fail(Stage::config, Reason::unsafe_owner, file + " can be read by others: chmod 0600 " + file);
    }
    const auto token = trim(*text);
    const bool plain = std::all_of(token.begin(), token.end(), [](char c) {
      return isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
             c == '.';
    });
    if (token.size() < kMinCharacters || !plain) {
      return fail(Stage::config, Reason::invalid,
                  file + " is not a token: 16 or more letters and digits; remove it to have a new one made");
    }
    return std::string(token);
  }
  if (text.error().reason != Reason::not_found) return text;
  const std::filesystem::path path(file);
  FB_CHECK(sys::makeDirs(Stage::config, path.parent_path().string(), 0755));
  FB_TRY(const auto folder, sys::openDir(Stage::config, path.parent_path().string()));
  FB_TRY(auto token, newToken());
  FB_CHECK(sys::replaceFile(Stage::config, folder, path.filename().string(), token + "\n", 0600));
  return token;
}

}  // namespace fallbackd::mirror
