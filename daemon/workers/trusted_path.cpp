// SPDX-License-Identifier: Apache-2.0
#include "workers/trusted_path.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <climits>

namespace fallbackd::workers {

namespace {

constexpr int kMaxLinks = 40;  // as in the kernel

bool othersMayWrite(const struct stat& info) {
  return (info.st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

bool isForeign(const struct stat& info) {
  return info.st_uid != 0 && info.st_uid != ::geteuid();
}

Result<struct stat> infoOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    const int number = errno;
    const bool absent = number == ENOENT || number == ENOTDIR;
    return fail(Stage::detection, absent ? Reason::not_found : Reason::system, path, number);
  }
  return info;
}

/// The parts of a path that are still to be walked, the next one last.
void push(std::vector<std::string>& rest, const std::string& path) {
  const auto parts = split(path, '/');
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!part->empty() && *part != ".") rest.emplace_back(*part);
  }
}

Result<std::string> targetOf(const std::string& link) {
  std::array<char, PATH_MAX> target{};
  const auto size = ::readlink(link.c_str(), target.data(), target.size());
  if (size < 0) return failErrno(Stage::detection, "read the link " + link);
  return std::string(target.data(), static_cast<std::size_t>(size));
}

/// Whether others can rename what is in the folder.
Result<> checkFolder(const std::string& folder, const std::string& path) {
  FB_TRY(const auto info, infoOf(folder));
  const bool sticky = (info.st_mode & S_ISVTX) != 0;
  if (isForeign(info) || (othersMayWrite(info) && !sticky)) {
    return fail(Stage::detection, Reason::unsafe_owner,
                path + " must be writable by root only, but others can write to " + folder);
  }
  return {};
}

}  // namespace

Result<> checkTrusted(const std::string& path, mode_t type) {
  std::vector<std::string> rest;
  push(rest, path);
  std::string reached = "/";  // without symbolic links
  for (int links = 0; !rest.empty();) {
    const auto part = std::move(rest.back());
    rest.pop_back();
    if (part == "..") {
      reached.resize(std::max<std::size_t>(reached.rfind('/'), 1));
      continue;
    }
    FB_CHECK(checkFolder(reached, path));
    auto next = reached == "/" ? reached + part : reached + "/" + part;
    FB_TRY(const auto info, infoOf(next));
    if (!S_ISLNK(info.st_mode)) {
      reached = std::move(next);
      continue;
    }
    if (isForeign(info)) {
      return fail(
          Stage::detection, Reason::unsafe_owner,
          path + " must be writable by root only, but the link " + next + " belongs to somebody else");
    }
    if (++links > kMaxLinks) return fail(Stage::detection, Reason::unsafe_path, path + ": too many links");
    FB_TRY(const auto target, targetOf(next));
    if (target.starts_with('/')) reached = "/";
    push(rest, target);
  }
  FB_TRY(const auto info, infoOf(reached));
  if ((info.st_mode & S_IFMT) != type) {
    return fail(Stage::detection, Reason::unsafe_file_type,
                path + (type == S_IFDIR ? " is not a folder" : " is not a file"));
  }
  if (isForeign(info) || othersMayWrite(info)) {
    return fail(Stage::detection, Reason::unsafe_owner, path + " must be writable by root only");
  }
  return {};
}

}  // namespace fallbackd::workers
