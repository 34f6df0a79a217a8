// SPDX-License-Identifier: Apache-2.0
#include "sys/owned_folder.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/resolved_open.hpp"

#include <cstdint>
#include <fcntl.h>
#include <stdlib.h>
#include <utility>

namespace fallbackd::sys {

namespace {

constexpr std::size_t kMaxName = 255;
constexpr int kMaxDepth = 64;  // nothing of ours is deeper, and each level holds a descriptor

/// Does not follow symlinks or cross mounts, including bind mounts of the same file system.
int openInside(int dir, const std::string& name, int flags) {
  const std::uint64_t resolve =
      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return openResolved(dir, name.c_str(), static_cast<unsigned>(flags | O_NOFOLLOW), resolve);
}

Result<struct stat> statOf(Stage stage, const DirFd& dir, const std::string& what) {
  struct stat info {};
  if (::fstat(dir.get(), &info) != 0) return failErrno(stage, "stat " + what);
  return info;
}

Result<> removeFile(Stage stage, int dir, const std::string& name) {
  if (::unlinkat(dir, name.c_str(), 0) != 0 && errno != ENOENT) return failErrno(stage, "remove " + name);
  return {};
}

// NOLINTNEXTLINE(misc-no-recursion): bounded by kMaxDepth
Result<> removeInside(Stage stage, int dir, const std::string& name, dev_t device, int depth) {
  const DirFd self(openInside(dir, name, O_RDONLY | O_DIRECTORY));
  if (!self) {
    // Not a folder, or a symlink: remove the entry itself, wherever it leads.
    if (errno == ENOTDIR || errno == ELOOP) return removeFile(stage, dir, name);
    if (errno == ENOENT) return {};
    if (errno == EXDEV)
      return fail(stage, Reason::not_permitted, name + " is another mount: not removed", EXDEV);
    return failErrno(stage, "open " + name);
  }
  FB_TRY(const auto info, statOf(stage, self, name));
  if (info.st_dev != device)
    return fail(stage, Reason::not_permitted, name + " is another device: not removed");
  if (depth == 0) return fail(stage, Reason::too_large, name + " is too deep: not removed");
  FB_TRY(const auto names, listDir(stage, self));
  for (const auto& child : names) FB_CHECK(removeInside(stage, self.get(), child, device, depth - 1));
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return failErrno(stage, "remove folder " + name);
  return {};
}

Result<> removeContent(Stage stage, const OwnedFolder& folder) {
  FB_TRY(const auto names, listDir(stage, folder.dir()));
  for (const auto& name : names) FB_CHECK(removeTree(stage, folder, name));
  return {};
}

Result<DirFd> openFolder(Stage stage, const DirFd& parent, const std::string& name) {
  if (!isSingleName(name)) return fail(stage, Reason::unsafe_path, quoted(name) + " is not a single name");
  DirFd dir(openInside(parent.get(), name, O_RDONLY | O_DIRECTORY));
  if (dir) return dir;
  const int error = errno;
  const auto reason = error == ENOENT                                        ? Reason::not_found
                      : error == ELOOP || error == EXDEV || error == ENOTDIR ? Reason::unsafe_path
                                                                             : Reason::system;
  return fail(stage, reason, "open folder " + name, error);
}

}  // namespace

bool isSingleName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Result<OwnedFolder> OwnedFolder::take(Stage stage, DirFd dir, std::string what) {
  FB_TRY(const auto info, statOf(stage, dir, what));
  if (!S_ISDIR(info.st_mode)) return fail(stage, Reason::unsafe_file_type, what + " is not a folder");
  if (info.st_uid != ::geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(stage, Reason::unsafe_owner, what + " belongs to another user, or others may write to it");
  return OwnedFolder(std::move(dir), std::move(what));
}

Result<OwnedFolder> OwnedFolder::open(Stage stage, const DirFd& parent, const std::string& name) {
  FB_TRY(auto dir, openFolder(stage, parent, name));
  return take(stage, std::move(dir), name);
}

Result<OwnedFolder> OwnedFolder::make(Stage stage, const DirFd& parent, const std::string& name) {
  if (!isSingleName(name)) return fail(stage, Reason::unsafe_path, quoted(name) + " is not a single name");
  if (::mkdirat(parent.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
    return failErrno(stage, "create folder " + name);
  return open(stage, parent, name);
}

Result<> removeTree(Stage stage, const OwnedFolder& folder, const std::string& name) {
  if (!isSingleName(name)) return fail(stage, Reason::unsafe_path, quoted(name) + " is not a single name");
  FB_TRY(const auto info, statOf(stage, folder.dir(), folder.name()));
  return removeInside(stage, folder.dir().get(), name, info.st_dev, kMaxDepth);
}

Result<> removeOwned(Stage stage, const DirFd& parent, const std::string& name) {
  const auto folder = OwnedFolder::open(stage, parent, name);
  if (!folder && folder.error().reason == Reason::not_found) return {};
  if (!folder) return tl::unexpected<Error>(folder.error());
  FB_CHECK(removeContent(stage, *folder));
  if (::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return failErrno(stage, "remove folder " + name);
  return {};
}

Result<ScratchFolder> ScratchFolder::make(Stage stage, const std::string& parent, const std::string& prefix) {
  FB_TRY(auto above, openDir(stage, parent));
  std::string path = parent + "/" + prefix + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return failErrno(stage, "make a folder in " + parent);
  std::string name = path.substr(parent.size() + 1);
  FB_TRY(auto folder, OwnedFolder::open(stage, above, name));
  return ScratchFolder(std::move(above), std::move(folder), std::move(path), std::move(name));
}

ScratchFolder::ScratchFolder(DirFd parent, OwnedFolder folder, std::string path, std::string name)
    : parent_(std::move(parent)),
      folder_(std::move(folder)),
      path_(std::move(path)),
      name_(std::move(name)) {}

ScratchFolder::ScratchFolder(ScratchFolder&& other) noexcept
    : parent_(std::move(other.parent_)),
      folder_(std::exchange(other.folder_, std::nullopt)),
      path_(std::move(other.path_)),
      name_(std::move(other.name_)) {}

ScratchFolder::~ScratchFolder() {
  if (!folder_) return;
  static_cast<void>(removeContent(Stage::cli, *folder_));
  // Removes only an empty folder, whatever another program put under our name.
  ::unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR);
}

}  // namespace fallbackd::sys
