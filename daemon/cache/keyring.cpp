// SPDX-License-Identifier: Apache-2.0
#include "cache/keyring.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>

namespace fallbackd::cache {

namespace {

constexpr std::size_t kMaxKeyBytes = 16384;
constexpr std::size_t kMaxKeys = 64;

tl::unexpected<Error> asKeyring(Error error) {
  if (error.reason != Reason::unsafe_owner) error.reason = Reason::keyring_invalid;
  return tl::unexpected<Error>(std::move(error));
}

Result<std::vector<CheckedFile>> openKeyFiles(const std::string& folder, uid_t owner) {
  FB_TRY(const auto dir, openTrusted(folder, owner));
  FB_TRY(const auto names, sys::listDir(Stage::admission, dir));
  std::vector<CheckedFile> files;
  for (const auto& name : names) {
    if (name.starts_with('.') || !(name.ends_with(".pub") || name.ends_with(".pem"))) continue;
    if (files.size() == kMaxKeys) {
      return fail(Stage::admission, Reason::keyring_invalid, folder + " holds more than 64 keys");
    }
    FB_TRY(auto file, openChecked(dir, folder, name, owner));
    files.push_back(std::move(file));
  }
  return files;
}

/// Reads the limits. A misspelt or misplaced one must not be taken for free text: the key would count for
/// ever. If there are several, the strictest counts: an operator who ends a key adds a line and may overlook
/// keygen's.
Result<> readLimits(std::string_view pem, Keyring::Entry& entry) {
  constexpr std::string_view kPrefix = "fallbackd-";
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // some editors begin a file with it
  if (pem.starts_with(kByteOrderMark)) pem.remove_prefix(kByteOrderMark.size());
  for (const auto raw : split(pem, '\n')) {
    const auto line = trim(raw);
    if (!line.starts_with(kPrefix)) continue;
    const auto colon = line.find(':');
    const auto name = line.substr(0, colon);
    const auto date =
        colon == std::string_view::npos ? std::nullopt : parseDate(trim(line.substr(colon + 1)));
    if (!date || (name != "fallbackd-not-before" && name != "fallbackd-not-after")) {
      return fail(
          Stage::admission, Reason::keyring_invalid,
          entry.file + ": " + quoted(line) +
              " is not understood; write fallbackd-not-before: or fallbackd-not-after: and a date like "
              "2027-01-31, from 2000 to 9999");
    }
    if (name == "fallbackd-not-before") {
      entry.notBefore = std::max(entry.notBefore, *date);
    } else {
      entry.notAfter = std::min(entry.notAfter, *date);
    }
  }
  return {};
}

}  // namespace

Result<std::vector<FileFacts>> Keyring::look(const std::string& folder, uid_t owner) {
  const auto files = openKeyFiles(folder, owner);
  if (!files) return asKeyring(files.error());
  std::vector<FileFacts> facts;
  for (const auto& file : *files) facts.push_back(file.facts);
  return facts;
}

Result<Keyring> Keyring::read(const std::string& folder, uid_t owner) {
  const auto files = openKeyFiles(folder, owner);
  if (!files) return asKeyring(files.error());
  Keyring ring;
  for (const auto& file : *files) {
    const auto pem = sys::readAll(Stage::admission, file.fd, kMaxKeyBytes, file.path);
    if (!pem) return asKeyring(pem.error());
    FB_TRY(auto key, PublicKey::parse(*pem, file.path));
    Entry entry{file.name, std::move(key)};
    FB_CHECK(readLimits(*pem, entry));
    const auto known = std::find_if(ring.entries_.begin(), ring.entries_.end(), [&](const Entry& one) {
      return one.key.fingerprint() == entry.key.fingerprint();
    });
    if (known == ring.entries_.end()) {
      ring.entries_.push_back(std::move(entry));
    } else {
      known->notBefore = std::max(known->notBefore, entry.notBefore);
      known->notAfter = std::min(known->notAfter, entry.notAfter);
    }
  }
  return ring;
}

Result<Keyring> Keyring::open(const std::string& folder, uid_t owner) {
  FB_TRY(auto ring, read(folder, owner));
  if (ring.entries_.empty()) {
    return fail(Stage::admission, Reason::keyring_invalid,
                folder + " holds no public key (*.pub, *.pem); nothing can be admitted");
  }
  return ring;
}

}  // namespace fallbackd::cache
