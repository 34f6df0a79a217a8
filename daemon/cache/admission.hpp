// SPDX-License-Identifier: Apache-2.0
// The one pass that decides whether a binary may be used: ownership, attestation, name, version,
// architecture, expiry, revocation, floor, digest, ELF form.
#pragma once

#include "cache/cache.hpp"
#include "cache/floor.hpp"
#include "cache/keyring.hpp"
#include "cache/ownership.hpp"
#include "cache/sealed.hpp"

#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::cache {

/// Larger files are neither admitted nor copied for admission.
inline constexpr std::uint64_t kMaxBinaryBytes = 2ULL << 30U;

enum class FloorUse : std::uint8_t {
  ignore,  // for what is only put into the cache: the floor judges what runs
  check,   // refuse what is below it, do not change it: for commands that only look
  raise,   // check, and raise it if what is admitted calls for that
};

struct AdmissionOptions {
  uid_t owner = 0;  // who must own cache and keys; tests run as other users, too
  FloorUse floor = FloorUse::raise;
  SealOptions seal;
};

/// The files that an admission depended on: while they are unchanged, so is its result.
struct Evidence {
  FileFacts binary;
  std::vector<FileFacts> attestations;
  std::vector<FileFacts> trust;  // the keyring's files and the revocation list
  friend bool operator==(const Evidence&, const Evidence&) = default;
};

class Admission {
 public:
  Admission(config::CacheSettings settings, AdmissionOptions options = {})
      : settings_(std::move(settings)), options_(std::move(options)) {}

  /// Blocks: copies, hashes, verifies. On success the floor is raised to a version that the configuration
  /// names, and to the attestation's minimum version, whoever chose the binary. The floor is read from disk
  /// each time: a restart changes nothing.
  Result<Admitted> admit(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy = NamedBy::others,
                         Evidence* evidence = nullptr);

  /// What is on disk for `ref` now, without reading its content.
  Result<Evidence> look(const BinaryRef& ref) const;

  /// Whether what was admitted may no longer be used, whatever is on disk now: its digest was revoked, or
  /// keys were removed from the ring or limited to a time that is over. A ring or list that cannot be read
  /// withdraws nothing.
  bool withdrawn(const Admitted& admitted, Wall::time_point now) const;

  /// Whether the keyring and the revocation list can be read: without them nothing is admitted.
  [[nodiscard]] Cache::Trust checkTrust() const;

  /// Expiry and grace as of `now`: whether it may still be used, and whether it is in its grace period.
  Result<bool> checkExpiry(const BinaryRef& ref, Wall::time_point expires, Wall::time_point now) const;

  /// Whether others may choose this version now. Reads the floor from disk.
  Result<> checkFloor(const BinaryRef& ref);

  /// The settings for all later calls; not while another call runs.
  void reconfigure(config::CacheSettings settings) { settings_ = std::move(settings); }
  /// Each rollback in the configuration, with the floor on disk.
  [[nodiscard]] std::vector<RolledBack> rolledBack();

  [[nodiscard]] const config::CacheSettings& settings() const { return settings_; }
  /// Sum of all admissions so far. Thread-safe.
  [[nodiscard]] std::uint64_t hashedBytes() const { return hashedBytes_; }
  /// Something the operator should know although nothing failed (a damaged floor file); empty the next time.
  [[nodiscard]] std::string takeWarning() { return std::exchange(warning_, {}); }

 private:
  Result<std::set<std::string>> revoked() const;
  Result<std::vector<FileFacts>> lookAtTrust() const;
  Result<VersionFloor> openFloor();

  config::CacheSettings settings_;
  AdmissionOptions options_;
  std::string warning_;
  std::string lastWarning_;
  std::atomic<std::uint64_t> hashedBytes_{0};
};

}  // namespace fallbackd::cache
