// SPDX-License-Identifier: Apache-2.0
// The signed cache as the daemon sees it: admitted binaries, kept ready as sealed copies.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "cache/elf.hpp"
#include "cache/floor.hpp"
#include "config/model.hpp"
#include "domain/binary_ref.hpp"
#include "domain/image_config.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::cache {

/// Who chose this version.
enum class NamedBy : std::uint8_t {
  configuration,  // the operator: it may be below the version floor, and raises it
  others,         // a pod's annotation, a command line: never below the floor, and does not raise it
};

/// A binary whose bytes, name, version, architecture, expiry and form were checked, and the sealed copy of
/// exactly these bytes. The fd is what is executed; its path in the cache is not opened again.
struct Admitted {
  BinaryRef ref;
  std::string digest;             // lower-case hex sha256 of the sealed copy
  std::vector<std::string> keys;  // fingerprints (hex sha256 of the SPKI DER) of the keys that signed
  Wall::time_point expires;
  bool inGrace = false;  // expired, but within expiryGrace
  /// The namespaces whose pods may choose it by annotation; absent: the attestation leaves that to the node.
  std::optional<std::vector<std::string>> namespaces;
  std::optional<ImageConfig> image;  // what its attestation records of the image
  std::optional<std::string> floor;  // where this admission left the version floor of its name
  std::uint64_t size = 0;
  ElfForm form;
  std::optional<std::string> verity;  // the file's fs-verity digest, if the file system has one
  std::string_view sealMethod;        // "memfd_exec", or the fallback that was used: for logs and metrics
  sys::UniqueFd executable;  // sealed memfd or unlinked read-only file, for execveat(fd, "", AT_EMPTY_PATH)

  /// Everything that is known about it, without the copy.
  [[nodiscard]] Admitted withoutBytes() const {
    return {ref,   digest, keys, expires, inGrace,    namespaces, image,
            floor, size,   form, verity,  sealMethod, {}};
  }
  /// Whether its attestation allows a pod of this namespace to choose it by annotation.
  [[nodiscard]] bool mayBeChosenIn(const std::string& podNamespace) const;
};
using AdmittedPtr = std::shared_ptr<const Admitted>;

/// A rollback of the configuration, and the version floor of its name.
struct RolledBack {
  config::Rollback rollback;
  std::optional<std::string> floor;
  RollbackState state = RollbackState::not_needed;
};

/// Thread-safe. admit() blocks (reads and hashes); resident() never does.
class Cache {
 public:
  /// `owner`: who must own the cache and the keys.
  explicit Cache(config::CacheSettings settings, uid_t owner = 0);
  ~Cache();

  /// The resident copy, or null. Checks the expiry again, reads nothing from disk.
  [[nodiscard]] Result<AdmittedPtr> resident(const BinaryRef& ref,
                                             Wall::time_point now = Clock::system().wall());

  /// Admits from disk and keeps the copy resident. While an earlier copy is in use and the files are
  /// unchanged, returns that copy and reads nothing. Stage admission; the reason says why it was refused.
  /// A binary that the last refresh() wanted counts as named by the configuration, whatever `namedBy` is.
  [[nodiscard]] Result<AdmittedPtr> admit(const BinaryRef& ref, Wall::time_point now = Clock::system().wall(),
                                          NamedBy namedBy = NamedBy::others);

  /// For a copy that cannot be executed: it is not used again, and the next caller admits a new one. A
  /// program that runs from the copy as the file's owner or as root can break it for good in spite of its
  /// seals: with an ACL, or by holding it open for writing. Does not block.
  void giveUp(const AdmittedPtr& copy);

  struct Entry {
    BinaryRef ref;
    Result<AdmittedPtr> result;
    bool examined = false;  // false: nothing changed on disk since the last time
    bool resident = false;  // a copy serves recoveries: this one, or an earlier one if this was refused
  };
  /// Makes exactly `wanted`, which the configuration names, and `chosen`, which pods name, resident: admits
  /// what is new or was refused before, re-admits what changed on disk, drops the rest. An admitted copy
  /// keeps serving while its file is being replaced or no longer passes, until it expires, the configuration
  /// drops it, its digest is revoked or its keys are removed from the ring; the refusal is in the entry.
  /// Binaries that exceed the memory budget, in the order of `wanted` and then of `chosen`, stay valid and
  /// are admitted again for a recovery, or as soon as there is room for them. A wanted binary takes the room
  /// of chosen ones, the last first, but not of wanted ones that are already resident.
  std::vector<Entry> refresh(const std::vector<BinaryRef>& wanted,
                             Wall::time_point now = Clock::system().wall(),
                             const std::vector<BinaryRef>& chosen = {});

  /// The settings from the next admission on. Unless they only loosen the earlier ones, no resident copy is
  /// used any more, and each is admitted again. Does not block.
  void reconfigure(config::CacheSettings settings);
  /// As of the last refresh().
  [[nodiscard]] std::vector<RolledBack> rolledBack() const;

  /// What prevents every admission, as of the last refresh(): the keyring, the revocation list.
  struct Trust {
    std::optional<Error> keyring;
    std::optional<Error> revocations;
  };
  [[nodiscard]] Trust trust() const;

  struct Usage {
    std::uint64_t residentBytes = 0;
    std::uint64_t budgetBytes = 0;
    std::size_t residents = 0;
    std::uint64_t hashedBytes = 0;  // by all admissions since the start: does not change during recoveries
  };
  [[nodiscard]] Usage usage() const;

  /// Something the operator should know although nothing failed (a damaged floor file); empty the next time.
  [[nodiscard]] std::string takeWarning();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fallbackd::cache
