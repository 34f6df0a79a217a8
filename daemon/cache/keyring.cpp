#include "cache/keyring.hpp"

#include "cache/ownership.hpp"
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

}  // namespace

Result<Keyring> Keyring::open(const std::string& folder, uid_t owner) {
  const auto dir = sys::openDir(Stage::admission, folder);
  if (!dir) return asKeyring(dir.error());
  if (const auto safe = checkFolder(*dir, owner, folder); !safe) return asKeyring(safe.error());
  const auto names = sys::listDir(Stage::admission, *dir);
  if (!names) return asKeyring(names.error());

  Keyring ring;
  for (const auto& name : *names) {
    if (name.starts_with('.') || !(name.ends_with(".pub") || name.ends_with(".pem"))) continue;
    const std::string path = folder + "/" + name;
    const auto fd = sys::openBeneath(Stage::admission, *dir, name);
    if (!fd) return asKeyring(fd.error());
    if (const auto facts = checkFile(*fd, owner, path); !facts) return asKeyring(facts.error());
    const auto pem = sys::readAll(Stage::admission, *fd, kMaxKeyBytes, path);
    if (!pem) return asKeyring(pem.error());
    FB_TRY(auto key, PublicKey::parse(*pem, path));
    const bool known = std::any_of(ring.entries_.begin(), ring.entries_.end(), [&](const Entry& one) {
      return one.key.fingerprint() == key.fingerprint();
    });
    if (!known) ring.entries_.push_back({name, std::move(key)});
    if (ring.entries_.size() > kMaxKeys) {
      return fail(Stage::admission, Reason::keyring_invalid, folder + " holds more than 64 keys");
    }
  }
  if (ring.entries_.empty()) {
    return fail(Stage::admission, Reason::keyring_invalid,
                folder + " holds no public key (*.pub, *.pem); nothing can be admitted");
  }
  return ring;
}

}  // namespace fallbackd::cache
