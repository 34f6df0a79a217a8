#include "cache/keyring.hpp"

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
  FB_TRY(const auto dir, sys::openDir(Stage::admission, folder));
  FB_CHECK(checkFolder(dir, owner, folder));
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
    const bool known = std::any_of(ring.entries_.begin(), ring.entries_.end(), [&](const Entry& one) {
      return one.key.fingerprint() == key.fingerprint();
    });
    if (!known) ring.entries_.push_back({file.name, std::move(key)});
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
