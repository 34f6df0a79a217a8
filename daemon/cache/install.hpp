// Puts binaries and their attestations into the cache: all of a pack or nothing, also over a power cut; and
// takes out what is old. For fallbackctl, beside a daemon that reads the cache meanwhile.
#pragma once

#include "base/binary_ref.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "sys/owned_folder.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::cache {

/// One binary on its way: where its bytes and those of its attestations are now.
struct PackItem {
  BinaryRef ref;
  std::string binary;                     // path
  std::vector<std::string> attestations;  // paths, at least one
  bool unpacked = false;                  // lies in the installer's unpackFolder(): moved, not copied
};

/// A folder with the same file names as the cache: NAME-vVERSION, NAME-vVERSION[.SIGNER].sigstore.json. Files
/// that are neither, binaries without attestation and attestations without binary are mistakes; all of them
/// are told.
struct Pack {
  std::vector<PackItem> items;
  std::vector<Error> problems;
};
Result<Pack> readPack(const std::string& folder);
/// The same of what was unpacked from `shownAs`.
Result<Pack> readPack(const std::string& folder, const std::string& shownAs);

enum class Action : std::uint8_t { installed, replaced, unchanged, removed };
std::string_view toString(Action action);

struct Change {
  BinaryRef ref;
  Action action = Action::installed;
  std::string digest;      // empty where it was removed
  std::uint64_t size = 0;  // bytes
  bool verity = false;     // fs-verity is on for the file
};

class Installer {
 public:
  /// Waits until no other installer has the cache. What one before us left unfinished is finished, if its
  /// pack had been verified as a whole, or else removed.
  static Result<Installer> open(config::CacheSettings settings, uid_t owner = 0);

  /// An empty folder on the cache's file system for a pack that has to be unpacked; gone with this object.
  Result<std::string> unpackFolder();

  /// Verifies every item as an admission would, then lets all of them appear. Where one is refused nothing
  /// appears, and there is an error for each refusal. The version floor does not count here: it judges what
  /// runs, and an older version may be put back for a configuration that is to name it again.
  tl::expected<std::vector<Change>, std::vector<Error>> install(const std::vector<PackItem>& items);

  /// Leaves the `keep` highest versions of each name and what is in `inUse`.
  Result<std::vector<Change>> prune(std::size_t keep, const std::set<BinaryRef>& inUse);

 private:
  Installer(config::CacheSettings settings, uid_t owner, sys::OwnedFolder cache)
      : settings_(std::move(settings)), owner_(owner), cache_(std::move(cache)) {}
  Result<> recover();
  Result<> finish(const std::string& committed);
  Result<Change> stage(const PackItem& item, const std::string& folder, std::vector<std::string>& names);
  Result<bool> isThere(const PackItem& item, Change& change);

  config::CacheSettings settings_;
  uid_t owner_;
  sys::OwnedFolder cache_;  // locked
  std::optional<sys::ScratchFolder> unpacked_;
};

}  // namespace fallbackd::cache
