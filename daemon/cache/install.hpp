// SPDX-License-Identifier: Apache-2.0
// Puts binaries and their attestations into the cache, all of a pack or nothing, even if the power fails, and
// removes old ones. For fallbackctl, while a daemon may be reading the cache.
#pragma once

#include "base/error.hpp"
#include "cache/cache.hpp"
#include "config/model.hpp"
#include "domain/binary_ref.hpp"
#include "sys/copy_progress.hpp"
#include "sys/owned_folder.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::cache {

/// One binary to install: where its bytes and those of its attestations are now.
struct PackItem {
  BinaryRef ref;
  std::string binary;                     // path
  std::vector<std::string> attestations;  // paths, at least one
  bool unpacked = false;                  // lies in the installer's unpackFolder(): moved, not copied
};

/// A folder with the same file names as the cache: NAME-vVERSION, NAME-vVERSION[.SIGNER].sigstore.json. Other
/// files, binaries without attestation and attestations without binary are mistakes; all of them are
/// reported.
struct Pack {
  std::vector<PackItem> items;
  std::vector<Error> problems;
};
Result<Pack> readPack(const std::string& folder);
/// The same for what was unpacked from `shownAs`.
Result<Pack> readPack(const std::string& folder, const std::string& shownAs);

enum class Action : std::uint8_t { installed, replaced, unchanged, removed };
std::string_view toString(Action action);

struct Change {
  BinaryRef ref;
  Action action = Action::installed;
  std::string digest;      // empty if it was removed
  std::uint64_t size = 0;  // bytes
  bool verity = false;     // fs-verity is on for the file
};

/// What to do if the cache already has this version with different bytes that none of the new signers' keys
/// signed: apparently a different team's.
enum class Foreign : std::uint8_t { refuse, replace };

class Installer {
 public:
  /// Waits until no other installer uses the cache. If an earlier one was interrupted, its work is finished
  /// if its whole pack had been verified, and removed otherwise.
  static Result<Installer> open(config::CacheSettings settings, uid_t owner = 0);

  /// An empty folder on the cache's file system for a pack that has to be unpacked; removed with this object.
  Result<std::string> unpackFolder();

  void setForeign(Foreign foreign) { foreign_ = foreign; }
  void setProgress(sys::CopyProgress copied) { copied_ = std::move(copied); }

  /// Verifies every item like an admission, then makes all of them appear. If one is refused nothing appears,
  /// and there is an error for each refusal. The version floor does not apply here: it judges what runs, and
  /// an older version may be put back for a configuration that is about to name it. Reasons already_exists:
  /// see Foreign; unsafe_file_type: a folder has one of the names.
  tl::expected<std::vector<Change>, std::vector<Error>> install(const std::vector<PackItem>& items);

  /// Keeps the `keep` highest versions of each of these names and everything in `inUse`, where the caller
  /// also lists what was just installed. Other names, which other packs brought, are left alone.
  Result<std::vector<Change>> prune(std::size_t keep, const std::set<std::string>& names,
                                    const std::set<BinaryRef>& inUse);

 private:
  Installer(config::CacheSettings settings, uid_t owner, sys::OwnedFolder cache)
      : settings_(std::move(settings)), owner_(owner), cache_(std::move(cache)) {}
  Result<> recover();
  Result<> finish(const std::string& committed);
  Result<Change> stage(const PackItem& item, const std::string& folder, std::vector<std::string>& names);
  Result<bool> isThere(const PackItem& item, Change& change);
  Result<> checkPlaces(const PackItem& item) const;
  Result<> checkForeign(const Admitted& admitted);

  config::CacheSettings settings_;
  uid_t owner_;
  sys::OwnedFolder cache_;  // locked
  std::optional<sys::ScratchFolder> unpacked_;
  Foreign foreign_ = Foreign::refuse;
  sys::CopyProgress copied_;
};

}  // namespace fallbackd::cache
