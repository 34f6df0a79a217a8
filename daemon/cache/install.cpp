// SPDX-License-Identifier: Apache-2.0
#include "cache/install.hpp"

#include "base/strings.hpp"
#include "cache/admission.hpp"
#include "cache/signers.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"
#include "sys/verity.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <map>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::cache {

namespace {

constexpr std::size_t kMaxAttestation = 1 << 20;
constexpr std::size_t kMaxManifest = 16 << 20;
// Folders in the cache: one that is being filled, and one whose pack is verified and only has to be moved.
constexpr const char* kStaging = ".install-";
const std::string kCommitted = ".commit-";
const std::string kManifest = "manifest";

/// Moves a file between two of our own folders on the same file system, and syncs it.
Result<std::uint64_t> moveFile(const sys::OwnedFolder& from, const sys::DirFd& dir, const std::string& name) {
  if (::renameat(from.dir().get(), name.c_str(), dir.get(), name.c_str()) != 0)
    return failErrno(Stage::cli, "rename " + name + " of " + from.name());
  FB_TRY(const auto file, sys::openBeneath(Stage::cli, dir, name));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || ::fchmod(file.get(), 0755) != 0 || ::fsync(file.get()) != 0)
    return failErrno(Stage::cli, "write " + name + " to the disk");
  return static_cast<std::uint64_t>(info.st_size);
}

/// Copies a regular file to `name` in `dir`, and syncs it.
Result<std::uint64_t> copyFile(const std::string& from, const sys::DirFd& dir, const std::string& name,
                               const sys::CopyProgress& copied) {
  constexpr off_t kPiece = 4 << 20;
  const sys::UniqueFd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (!source || ::fstat(source.get(), &info) != 0) return failErrno(Stage::cli, "open " + from);
  if (!S_ISREG(info.st_mode)) return fail(Stage::cli, Reason::invalid, from + " is not a regular file");
  // Checked before it is on the cache's disk, not when it is admitted.
  if (static_cast<std::uint64_t>(info.st_size) > kMaxBinaryBytes)
    return fail(Stage::cli, Reason::too_large, from + " has more than 2 GiB");
  const sys::UniqueFd target(
      ::openat(dir.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755));
  if (!target) return failErrno(Stage::cli, "create " + name);
  off_t offset = 0;
  while (offset < info.st_size) {
    const ssize_t sent = ::sendfile(target.get(), source.get(), &offset,
                                    static_cast<std::size_t>(std::min(kPiece, info.st_size - offset)));
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return failErrno(Stage::cli, "copy " + from);
    if (sent == 0) return fail(Stage::cli, Reason::invalid, from + " shrank while it was copied");
    if (copied) copied(static_cast<std::uint64_t>(sent));
  }
  if (::fchmod(target.get(), 0755) != 0) return failErrno(Stage::cli, "chmod " + name);
  if (::fsync(target.get()) != 0) return failErrno(Stage::cli, "fsync " + name);
  return static_cast<std::uint64_t>(info.st_size);
}

Result<> rename(const sys::DirFd& from, const std::string& name, const sys::DirFd& to) {
  if (::renameat(from.get(), name.c_str(), to.get(), name.c_str()) != 0 && errno != ENOENT) {
    return failErrno(Stage::cli, "rename " + name + " into the cache");
  }
  return {};
}

Result<> remove(const sys::DirFd& dir, const std::string& name) {
  if (::unlinkat(dir.get(), name.c_str(), 0) != 0 && errno != ENOENT)
    return failErrno(Stage::cli, "remove " + name);
  return {};
}

Result<> sync(const sys::DirFd& dir, const std::string& path) {
  if (::fsync(dir.get()) != 0) return failErrno(Stage::cli, "fsync " + path);
  return {};
}

/// The cache's name for attestation number `index` of `ref`.
std::string attestationName(const BinaryRef& ref, std::size_t index) {
  if (index == 0) return ref.attestationName();
  return ref.fileName() + ".signer-" + std::to_string(index + 1) + std::string(kAttestationSuffix);
}

}  // namespace

std::string_view toString(Action action) {
  constexpr std::array<std::string_view, 4> kNames{"installed", "replaced", "unchanged", "removed"};
  return kNames.at(static_cast<std::size_t>(action));
}

Result<Pack> readPack(const std::string& folder) {
  return readPack(folder, folder);
}

Result<Pack> readPack(const std::string& folder, const std::string& shownAs) {
  FB_TRY(const auto dir, sys::openDir(Stage::cli, folder));
  FB_TRY(const auto names, sys::listDir(Stage::cli, dir));
  Pack pack;
  const auto problem = [&](const std::string& name, const std::string& what) {
    pack.problems.push_back(fail(Stage::cli, Reason::invalid, shownAs + "/" + name + ": " + what).value());
  };
  std::vector<std::string> owned;
  for (const auto& name : names) {
    if (name.starts_with('.') || name.ends_with(kAttestationSuffix)) continue;
    const auto ref = parseBinaryFileName(name);
    if (!ref) {
      problem(name,
              "is neither named NAME-vVERSION nor an attestation; rename it or remove it from the pack");
      continue;
    }
    FB_TRY(const auto attestations, attestationNames(dir, *ref));
    PackItem item{*ref, folder + "/" + name, {}, shownAs != folder};
    for (const auto& one : attestations) item.attestations.push_back(folder + "/" + one);
    owned.insert(owned.end(), attestations.begin(), attestations.end());
    if (attestations.empty()) problem(name, "has no attestation " + ref->attestationName() + " beside it");
    pack.items.push_back(std::move(item));
  }
  for (const auto& name : names) {
    const bool stray = !name.starts_with('.') && name.ends_with(kAttestationSuffix) &&
                       std::find(owned.begin(), owned.end(), name) == owned.end();
    if (stray) problem(name, "attests a binary that is not in the pack");
  }
  if (names.empty()) problem("", "the pack is empty");
  return pack;
}

Result<std::string> Installer::unpackFolder() {
  FB_TRY(auto folder, sys::ScratchFolder::make(Stage::cli, settings_.path, kStaging));
  unpacked_.emplace(std::move(folder));
  return unpacked_->path();
}

Result<Installer> Installer::open(config::CacheSettings settings, uid_t owner) {
  FB_CHECK(sys::makeDirs(Stage::cli, settings.path, 0755));
  FB_TRY(auto cache, openTrusted(settings.path, owner));
  if (::flock(cache.get(), LOCK_EX) != 0) return failErrno(Stage::cli, "lock " + settings.path);
  FB_TRY(auto ours, sys::OwnedFolder::take(Stage::cli, std::move(cache), settings.path));
  Installer installer(std::move(settings), owner, std::move(ours));
  FB_CHECK(installer.recover());
  return installer;
}

Result<> Installer::recover() {
  FB_TRY(const auto names, sys::listDir(Stage::cli, cache_.dir()));
  for (const auto& name : names) {
    if (name.starts_with(kStaging)) FB_CHECK(sys::removeTree(Stage::cli, cache_, name));
    if (name.starts_with(kCommitted)) FB_CHECK(finish(name));
  }
  return {};
}

/// Moves what is left in the folder of a verified pack. Attestations first: without their binary they admit
/// nothing. Can be interrupted and repeated at any point, because the manifest is removed last.
Result<> Installer::finish(const std::string& committed) {
  const std::string path = settings_.path + "/" + committed;
  FB_TRY(const auto dir, sys::openDir(Stage::cli, path));
  const auto manifest = sys::readFile(Stage::cli, path + "/" + kManifest, kMaxManifest);
  // An installer was interrupted between removing the manifest and removing the folder.
  if (!manifest && manifest.error().reason == Reason::not_found)
    return sys::removeTree(Stage::cli, cache_, committed);
  if (!manifest) return tl::unexpected<Error>(manifest.error());
  std::vector<std::string> attestations;
  std::vector<std::string> binaries;
  for (const auto line : split(*manifest, '\n')) {
    if (!line.empty()) (line.ends_with(kAttestationSuffix) ? attestations : binaries).emplace_back(line);
  }
  for (const auto& name : attestations) FB_CHECK(rename(dir, name, cache_.dir()));
  for (const auto& name : binaries) {
    // Attestations of different bytes under this name would contradict the new ones.
    const auto ref = parseBinaryFileName(name);
    if (!ref) return fail(Stage::cli, Reason::invalid, path + " names " + quoted(name));
    FB_TRY(const auto others, attestationNames(cache_.dir(), *ref));
    for (const auto& other : others) {
      if (std::find(attestations.begin(), attestations.end(), other) == attestations.end()) {
        FB_CHECK(remove(cache_.dir(), other));
      }
    }
    FB_CHECK(rename(dir, name, cache_.dir()));
  }
  FB_CHECK(sync(cache_.dir(), settings_.path));
  FB_CHECK(remove(dir, kManifest));
  FB_CHECK(sync(dir, path));
  return sys::removeTree(Stage::cli, cache_, committed);
}

/// Whether the cache already has exactly this, and it is valid.
Result<bool> Installer::isThere(const PackItem& item, Change& change) {
  FB_TRY(const auto names, attestationNames(cache_.dir(), item.ref));
  if (::faccessat(cache_.dir().get(), item.ref.fileName().c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0)
    return false;
  change.action = Action::replaced;
  if (names.size() != item.attestations.size()) return false;
  for (std::size_t i = 0; i < names.size(); ++i) {
    FB_TRY(const auto wanted, sys::readFile(Stage::cli, item.attestations[i], kMaxAttestation));
    const auto known =
        sys::readFile(Stage::cli, settings_.path + "/" + attestationName(item.ref, i), kMaxAttestation);
    if (!known || *known != wanted) return false;
  }
  // The attestation identifies the bytes: if the cache has them, the pack's bytes are the same or bad.
  Admission admission(settings_, {.owner = owner_, .floor = FloorUse::ignore, .seal = {}});
  const auto admitted = admission.admit(item.ref, Clock::system().wall());
  if (!admitted) return false;
  change = {item.ref, Action::unchanged, admitted->digest, admitted->size, admitted->verity.has_value()};
  return true;
}

/// A folder under one of the names, as container runtimes make for a mount whose source is missing, would
/// stop finish() halfway, and every later installer with it.
Result<> Installer::checkPlaces(const PackItem& item) const {
  FB_TRY(auto names, attestationNames(cache_.dir(), item.ref));
  for (std::size_t i = 0; i < item.attestations.size(); ++i) names.push_back(attestationName(item.ref, i));
  names.push_back(item.ref.fileName());
  for (const auto& name : names) {
    struct stat info {};
    const int found = ::fstatat(cache_.dir().get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW);
    if (found != 0 || !S_ISDIR(info.st_mode)) continue;
    return fail(Stage::cli, Reason::unsafe_file_type,
                settings_.path + "/" + name + " is a folder, which no file replaces; remove it");
  }
  return {};
}

/// A binary that is no longer admitted, because it has expired or its key has left the ring, belongs to no
/// one.
Result<> Installer::checkForeign(const Admitted& admitted) {
  Admission admission(settings_, {.owner = owner_, .floor = FloorUse::ignore, .seal = {}});
  const auto known = admission.admit(admitted.ref, Clock::system().wall());
  if (!known || known->digest == admitted.digest) return {};
  const bool shared = std::any_of(known->keys.begin(), known->keys.end(), [&](const std::string& key) {
    return std::find(admitted.keys.begin(), admitted.keys.end(), key) != admitted.keys.end();
  });
  if (shared) return {};
  return fail(Stage::cli, Reason::already_exists,
              admitted.ref.toString() + " is in " + settings_.path +
                  " with other bytes, signed by another key: two packs have the same version of the same "
                  "name; --replace-foreign replaces it");
}

Result<Change> Installer::stage(const PackItem& item, const std::string& folder,
                                std::vector<std::string>& names) {
  Change change{item.ref, Action::installed, {}, 0, false};
  FB_TRY(const bool there, isThere(item, change));
  if (there) return change;
  FB_CHECK(checkPlaces(item));
  FB_TRY(const auto dir, sys::openDir(Stage::cli, folder));
  for (std::size_t i = 0; i < item.attestations.size(); ++i) {
    FB_TRY(const auto text, sys::readFile(Stage::cli, item.attestations[i], kMaxAttestation));
    names.push_back(attestationName(item.ref, i));
    FB_CHECK(sys::replaceFile(Stage::cli, dir, names.back(), text, 0644));
  }
  names.push_back(item.ref.fileName());
  const bool ours = item.unpacked && unpacked_;
  FB_TRY(change.size, ours ? moveFile(unpacked_->folder(), dir, names.back())
                           : copyFile(item.binary, dir, names.back(), copied_));
  FB_TRY(const auto file, sys::openBeneath(Stage::cli, dir, names.back()));
  change.verity = sys::enableVerity(file);
  auto staged = settings_;
  staged.path = folder;
  Admission admission(staged, {.owner = owner_, .floor = FloorUse::ignore, .seal = {}});
  FB_TRY(const auto admitted, admission.admit(item.ref, Clock::system().wall()));
  if (change.action == Action::replaced && foreign_ == Foreign::refuse) FB_CHECK(checkForeign(admitted));
  change.digest = admitted.digest;
  return change;
}

tl::expected<std::vector<Change>, std::vector<Error>> Installer::install(const std::vector<PackItem>& items) {
  const auto only = [](Error error) { return tl::unexpected(std::vector<Error>{std::move(error)}); };
  auto staging = sys::ScratchFolder::make(Stage::cli, settings_.path, kStaging);
  if (!staging) return only(staging.error());
  std::vector<Change> changes;
  std::vector<Error> errors;
  std::vector<std::string> names;
  for (const auto& item : items) {
    auto change = stage(item, staging->path(), names);
    if (change) {
      changes.push_back(std::move(*change));
    } else {
      // The staging folder is gone when this message is read.
      auto error = change.error();
      const auto at = error.context.find(staging->path());
      if (at != std::string::npos) error.context.replace(at, staging->path().size(), settings_.path);
      errors.push_back(std::move(error));
    }
  }
  if (!errors.empty()) return tl::unexpected(std::move(errors));
  if (names.empty()) return changes;

  const auto commit = [&]() -> Result<> {
    FB_TRY(const auto dir, sys::openDir(Stage::cli, staging->path()));
    FB_CHECK(sys::replaceFile(Stage::cli, dir, kManifest, join(names, "\n") + "\n", 0644));
    const auto name = kCommitted + staging->name().substr(staging->name().size() - 6);
    // From here on the pack is installed, even if this process is interrupted.
    const int cache = cache_.dir().get();
    if (::renameat(cache, staging->name().c_str(), cache, name.c_str()) != 0) {
      return failErrno(Stage::cli, "rename " + staging->path());
    }
    staging->release();
    FB_CHECK(sync(cache_.dir(), settings_.path));
    return finish(name);
  };
  if (auto done = commit(); !done) return only(done.error());
  return changes;
}

Result<std::vector<Change>> Installer::prune(std::size_t keep, const std::set<std::string>& names,
                                             const std::set<BinaryRef>& inUse) {
  FB_TRY(const auto files, sys::listDir(Stage::cli, cache_.dir()));
  std::map<std::string, std::vector<BinaryRef>> versions;
  for (const auto& file : files) {
    if (file.ends_with(kAttestationSuffix)) continue;
    auto ref = parseBinaryFileName(file);
    if (ref && names.contains(ref->name)) versions[ref->name].push_back(std::move(*ref));
  }
  std::vector<Change> changes;
  for (auto& [name, refs] : versions) {
    std::sort(refs.begin(), refs.end(), [](const BinaryRef& left, const BinaryRef& right) {
      return compareVersions(left.version, right.version) > 0;
    });
    for (std::size_t i = keep; i < refs.size(); ++i) {
      const auto& ref = refs[i];
      if (inUse.contains(ref)) continue;
      // Attestations are found through the binary; it is removed first, because without it they admit
      // nothing.
      FB_TRY(const auto attestations, attestationNames(cache_.dir(), ref));
      struct stat info {};
      static_cast<void>(::fstatat(cache_.dir().get(), ref.fileName().c_str(), &info, AT_SYMLINK_NOFOLLOW));
      FB_CHECK(remove(cache_.dir(), ref.fileName()));
      for (const auto& one : attestations) FB_CHECK(remove(cache_.dir(), one));
      changes.push_back({ref, Action::removed, {}, static_cast<std::uint64_t>(info.st_size), false});
    }
  }
  if (!changes.empty()) FB_CHECK(sync(cache_.dir(), settings_.path));
  return changes;
}

}  // namespace fallbackd::cache
