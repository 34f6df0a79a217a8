// SPDX-License-Identifier: Apache-2.0
#include "cache/ownership.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <sys/stat.h>
#include <utility>

namespace fallbackd::cache {

namespace {

Result<> checkWriters(const struct stat& info, uid_t owner, const std::string& what) {
  if (info.st_uid != owner) {
    return fail(Stage::admission, Reason::unsafe_owner,
                what + " belongs to uid " + std::to_string(info.st_uid) + ", not to uid " +
                    std::to_string(owner) + "; chown it");
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(Stage::admission, Reason::unsafe_owner, what + " can be written by others; chmod go-w it");
  }
  return {};
}

FileFacts asFacts(const struct stat& info) {
  return {static_cast<std::uint64_t>(info.st_size), info.st_dev, info.st_ino, info.st_ctim.tv_sec,
          info.st_ctim.tv_nsec};
}

}  // namespace

Result<> checkFolder(const sys::UniqueFd& fd, uid_t owner, const std::string& what) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return failErrno(Stage::admission, "stat " + what);
  return checkWriters(info, owner, what);
}

Result<sys::DirFd> openTrusted(const std::string& path, uid_t owner) {
  FB_TRY(auto dir, sys::openDir(Stage::admission, "/"));
  std::string sofar;
  for (const auto part : split(path, '/')) {
    if (part.empty()) continue;
    struct stat info {};
    if (::fstat(dir.get(), &info) != 0) return failErrno(Stage::admission, "stat " + sofar + "/");
    const bool foreign = info.st_uid != 0 && info.st_uid != owner;
    // In a sticky folder (/tmp) everybody may write, but not rename other users' files.
    const bool open = (info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0;
    if (foreign || open) {
      return fail(Stage::admission, Reason::unsafe_owner,
                  sofar + "/ is writable by others than root: " + path +
                      " could be replaced; chown root and chmod go-w it");
    }
    sofar.append("/").append(part);
    auto next = sys::openBeneath(Stage::admission, dir, std::string(part), O_RDONLY | O_DIRECTORY);
    if (!next) {
      next.error().context = "open folder " + path + " at " + sofar;
      if (next.error().reason == Reason::unsafe_path)
        next.error().context.append(": write the path without symlinks");
      return tl::unexpected<Error>(next.error());
    }
    dir = sys::DirFd(next->release());
  }
  FB_CHECK(checkFolder(dir, owner, path));
  return dir;
}

Result<FileFacts> checkFile(const sys::UniqueFd& fd, uid_t owner, const std::string& what) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return failErrno(Stage::admission, "stat " + what);
  if (!S_ISREG(info.st_mode)) {
    return fail(Stage::admission, Reason::unsafe_file_type, what + " is not a regular file");
  }
  FB_CHECK(checkWriters(info, owner, what));
  if ((info.st_mode & (S_ISUID | S_ISGID)) != 0) {
    return fail(Stage::admission, Reason::unsafe_file_type,
                what + " has a set-uid or set-gid bit; chmod ug-s it");
  }
  if (info.st_nlink != 1) {
    return fail(Stage::admission, Reason::unsafe_file_type,
                what + " has other hard links, through which it could be changed; copy it instead");
  }
  return asFacts(info);
}

Result<CheckedFile> openChecked(const sys::DirFd& dir, const std::string& folder, const std::string& name,
                                uid_t owner) {
  CheckedFile file;
  file.name = name;
  file.path = folder + "/" + name;
  auto opened = sys::openBeneath(Stage::admission, dir, name);
  if (!opened) {
    // The error has only the name; its reader needs the path.
    auto& context = opened.error().context;
    if (const auto at = context.find(name); at != std::string::npos)
      context.replace(at, name.size(), file.path);
    return tl::unexpected<Error>(std::move(opened.error()));
  }
  file.fd = std::move(*opened);
  FB_TRY(file.facts, checkFile(file.fd, owner, file.path));
  return file;
}

}  // namespace fallbackd::cache
