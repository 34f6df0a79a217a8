// SPDX-License-Identifier: Apache-2.0
#include "sys/file.hpp"

#include "sys/resolved_open.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <dirent.h>
#include <memory>

namespace fallbackd::sys {

Result<DirFd> openDir(Stage stage, const std::string& path) {
  DirFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) {
    return fail(stage, errno == ENOENT ? Reason::not_found : Reason::system, "open folder " + path, errno);
  }
  return dir;
}

Result<UniqueFd> openBeneath(Stage stage, const DirFd& dir, const std::string& path, int flags) {
  const std::uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const auto how = static_cast<unsigned>(flags | O_NONBLOCK | O_NOCTTY);
  UniqueFd fd(openResolved(dir.get(), path.c_str(), how, resolve));
  if (fd) return fd;
  const int error = errno;
  if (error == ENOENT) return fail(stage, Reason::not_found, "open " + path, error);
  if (error == ELOOP || error == EXDEV) {
    return fail(stage, Reason::unsafe_path, path + " leads through a symlink or out of its folder", error);
  }
  return failErrno(stage, "open " + path, error);
}

Result<std::string> readAll(Stage stage, const UniqueFd& fd, std::size_t limit, const std::string& what) {
  std::string bytes;
  std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failErrno(stage, "read " + what);
    if (got == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(got) > limit) {
      return fail(stage, Reason::too_large, what + " has more than " + std::to_string(limit) + " bytes");
    }
    bytes.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

Result<std::string> readFile(Stage stage, const std::string& path, std::size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    return fail(stage, errno == ENOENT ? Reason::not_found : Reason::system, "open " + path, errno);
  }
  return readAll(stage, fd, limit, path);
}

Result<> writeAll(Stage stage, const UniqueFd& fd, std::string_view bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failErrno(stage, "write " + what);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<> replaceFile(Stage stage, const DirFd& dir, const std::string& name, std::string_view bytes,
                     mode_t mode) {
  const std::string temporary = "." + name + ".new";
  if (::unlinkat(dir.get(), temporary.c_str(), 0) != 0 && errno != ENOENT) {
    return failErrno(stage, "remove " + temporary);
  }
  {
    const UniqueFd fd(
        ::openat(dir.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!fd) return failErrno(stage, "create " + temporary);
    FB_CHECK(writeAll(stage, fd, bytes, temporary));
    if (::fchmod(fd.get(), mode) != 0) return failErrno(stage, "chmod " + temporary);
    if (::fsync(fd.get()) != 0) return failErrno(stage, "fsync " + temporary);
  }
  if (::renameat(dir.get(), temporary.c_str(), dir.get(), name.c_str()) != 0) {
    return failErrno(stage, "rename " + temporary + " to " + name);
  }
  if (::fsync(dir.get()) != 0) return failErrno(stage, "fsync the folder of " + name);
  return {};
}

Result<> makeDirs(Stage stage, const std::string& path, mode_t mode) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string prefix = path.substr(0, at);
    if (::mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST)
      return failErrno(stage, "create folder " + prefix);
  }
  return {};
}

Result<std::vector<std::string>> listDir(Stage stage, const DirFd& dir) {
  // A new open file description, so that the caller's read position is not shared.
  const int fd = ::openat(dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failErrno(stage, "open folder to list it");
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd), &::closedir);
  if (!stream) {
    const int error = errno;
    ::close(fd);
    return failErrno(stage, "list folder", error);
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): the stream is ours alone
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return failErrno(stage, "list folder");
  std::sort(names.begin(), names.end());
  return names;
}

Result<> removeSocket(Stage stage, const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return fail(stage, Reason::invalid, path + " is not an absolute path");
  FB_TRY(const auto folder, openDir(stage, slash == 0 ? "/" : path.substr(0, slash)));
  const std::string name = path.substr(slash + 1);
  struct stat info {};
  if (::fstatat(folder.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return failErrno(stage, "stat " + path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return fail(stage, Reason::unsafe_file_type,
                path + " exists and is not a socket: choose another path or remove it");
  }
  if (::unlinkat(folder.get(), name.c_str(), 0) != 0 && errno != ENOENT)
    return failErrno(stage, "remove " + path);
  return {};
}

}  // namespace fallbackd::sys
