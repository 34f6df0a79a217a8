// The signed cache as the daemon sees it: binaries that were admitted and are held ready as sealed copies.
#pragma once

#include "base/binary_ref.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "cache/elf.hpp"
#include "config/model.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::cache {

/// What chose this version.
enum class NamedBy : std::uint8_t {
  configuration,  // the operator: it may be below the version floor, which moves up to it
  others,         // a pod's annotation, a command line: never below the floor, which it does not move
};

/// A binary whose bytes, name, version, architecture, expiry and form were checked, and the sealed copy of
/// exactly these bytes. The fd is what is executed; the path in the cache is never opened again for it.
struct Admitted {
  BinaryRef ref;
  std::string digest;             // lower-case hex sha256 of the sealed copy
  std::vector<std::string> keys;  // fingerprints (hex sha256 of the SPKI DER) of the keys that signed
  Wall::time_point expires;
  bool inGrace = false;  // expired, but within expiryGrace
  /// Whose pods may choose it by annotation; absent: the attestation leaves that to the node.
  std::optional<std::vector<std::string>> namespaces;
  std::optional<std::string> floor;  // where this admission put the version floor of its name
  std::uint64_t size = 0;
  ElfForm form;
  std::optional<std::string> verity;  // the file's fs-verity digest, where the file system keeps one
  std::string_view sealMethod;        // "memfd_exec", or the fallback that was taken: for logs and metrics
  sys::UniqueFd executable;  // sealed memfd or unlinked read-only file, for execveat(fd, "", AT_EMPTY_PATH)

  /// What is known of it, without the copy.
  [[nodiscard]] Admitted withoutBytes() const {
    return {ref, digest, keys, expires, inGrace, namespaces, floor, size, form, verity, sealMethod, {}};
  }
  /// Whether a pod of this namespace may choose it by annotation, as far as its attestation says.
  [[nodiscard]] bool mayBeChosenIn(const std::string& podNamespace) const;
};
using AdmittedPtr = std::shared_ptr<const Admitted>;

/// Thread-safe. admit() blocks (reads and hashes); resident() never does.
class Cache {
 public:
  /// `owner`: who must own the cache and the keys.
  explicit Cache(config::CacheSettings settings, uid_t owner = 0);
  ~Cache();

  /// The resident copy, or null. Checks expiry again (time passes), reads nothing from disk.
  [[nodiscard]] Result<AdmittedPtr> resident(const BinaryRef& ref, Wall::time_point now = Wall::now());

  /// Admits from disk and keeps the copy resident. Stage admission; the reason is why it was refused. What
  /// the last refresh() wanted counts as named by the configuration, whoever asks for it.
  [[nodiscard]] Result<AdmittedPtr> admit(const BinaryRef& ref, Wall::time_point now = Wall::now(),
                                          NamedBy namedBy = NamedBy::others);

  struct Entry {
    BinaryRef ref;
    Result<AdmittedPtr> result;
    bool examined = false;  // false: nothing changed on disk since the last time
    bool resident = false;  // a copy serves recoveries: this one, or an earlier one where this was refused
  };
  /// Makes exactly `wanted`, which the configuration names, resident: admits what is new or was refused
  /// before, re-admits what changed on disk since, drops the rest. A copy that was admitted keeps serving
  /// while its file is being replaced or no longer passes, until it expires, the configuration drops it, its
  /// digest is revoked or its keys are taken from the ring; the refusal is in the entry. What no longer fits
  /// the memory budget, in the order of `wanted`, stays good and is admitted again for each recovery.
  std::vector<Entry> refresh(const std::vector<BinaryRef>& wanted, Wall::time_point now = Wall::now());

  /// What keeps every binary from being admitted, as of the last refresh(): the keyring, the revocation list.
  struct Trust {
    std::optional<Error> keyring;
    std::optional<Error> revocations;
  };
  [[nodiscard]] Trust trust() const;

  struct Usage {
    std::uint64_t residentBytes = 0;
    std::uint64_t budgetBytes = 0;
    std::size_t residents = 0;
    std::uint64_t hashedBytes = 0;  // by all admissions since the start: stands still while recoveries run
  };
  [[nodiscard]] Usage usage() const;

  /// What the operator should know although nothing failed (a damaged floor file); empty the next time.
  [[nodiscard]] std::string takeWarning();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fallbackd::cache
