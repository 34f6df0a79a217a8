// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/log_file.hpp"

#include "sys/file.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace fallbackd::launcher {

namespace {

/// kubelet's format: UTC, "20060102-150405".
std::string rotatedSuffix(Wall::time_point now) {
  const std::time_t seconds = Wall::to_time_t(now);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts);
  return {text, size};
}

/// "3.log" or "3.log.20260102-150405"; other files are not ours to remove.
struct LogName {
  std::string name;
  unsigned restart = 0;
  std::string rotated;  // empty: the current file

  static std::vector<LogName> in(const std::vector<std::string>& names) {
    std::vector<LogName> logs;
    for (const auto& name : names) {
      LogName log{name, 0, ""};
      const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), log.restart);
      const std::string_view rest(end, static_cast<std::size_t>(name.data() + name.size() - end));
      if (code != std::errc{} || !(rest == ".log" || rest.starts_with(".log."))) continue;
      if (rest.size() > 5) log.rotated = rest.substr(5);
      logs.push_back(std::move(log));
    }
    return logs;
  }
};

/// POD_FOLDER/FOLDER/NAME.
struct PathParts {
  std::string podFolder;
  std::string folder;
  std::string name;

  static Result<PathParts> of(const std::string& path) {
    const auto fileAt = path.rfind('/');
    const auto folderAt = fileAt == std::string::npos ? fileAt : path.rfind('/', fileAt - 1);
    if (folderAt == std::string::npos || folderAt == 0) {
      return fail(Stage::logs, Reason::invalid, "log file " + path);
    }
    return PathParts{path.substr(0, folderAt), path.substr(folderAt + 1, fileAt - folderAt - 1),
                     path.substr(fileAt + 1)};
  }
};

Result<> makeFolder(const sys::DirFd& pod, const PathParts& parts) {
  if (::mkdirat(pod.get(), parts.folder.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return failErrno(Stage::logs, "create folder " + parts.folder + " in " + parts.podFolder);
}

/// Newest first.
bool newer(const LogName& left, const LogName& right) {
  return std::tuple(left.restart, left.rotated.empty(), left.rotated) >
         std::tuple(right.restart, right.rotated.empty(), right.rotated);
}

}  // namespace

unsigned latestRestartOf(const std::string& logDirectory, const std::string& container) {
  const std::string path = logFileOf(logDirectory, container, 0);
  const auto folder = sys::openDir(Stage::logs, path.substr(0, path.rfind('/') + 1));
  const auto names = folder ? sys::listDir(Stage::logs, *folder) : tl::unexpected<Error>(folder.error());
  if (!names) return 0;
  unsigned latest = 0;
  for (const auto& log : LogName::in(*names)) latest = std::max(latest, log.restart);
  return latest;
}

std::string logFileOf(const std::string& logDirectory, const std::string& container, unsigned restartCount) {
  if (logDirectory.empty()) return {};
  return logDirectory + "/" + container + "-fallback/" + std::to_string(restartCount) + ".log";
}

Result<LogFile> LogFile::open(const std::string& path, config::LogLimits limits) {
  FB_TRY(const auto parts, PathParts::of(path));
  FB_CHECK(sys::makeDirs(Stage::logs, parts.podFolder, 0755));
  FB_TRY(const auto pod, sys::openDir(Stage::logs, parts.podFolder));
  FB_CHECK(makeFolder(pod, parts));
  FB_TRY(auto log, openIn(pod, parts.folder, parts.name, limits));
  log.prune();
  return log;
}

Result<LogFile> LogFile::openAgain(const std::string& path, config::LogLimits limits) {
  FB_TRY(const auto parts, PathParts::of(path));
  FB_TRY(const auto pod, sys::openDir(Stage::logs, parts.podFolder));
  auto log = openIn(pod, parts.folder, parts.name, limits);
  if (log || log.error().reason != Reason::not_found) return log;
  FB_CHECK(makeFolder(pod, parts));
  return openIn(pod, parts.folder, parts.name, limits);
}

Result<LogFile> LogFile::openIn(const sys::DirFd& pod, const std::string& folder, std::string name,
                                config::LogLimits limits) {
  LogFile log;
  FB_TRY(auto opened, sys::openBeneath(Stage::logs, pod, folder, O_RDONLY | O_DIRECTORY));
  log.folder_ = sys::DirFd(opened.release());
  log.name_ = std::move(name);
  log.limits_ = limits;
  FB_CHECK(log.openFile());
  return log;
}

Result<> LogFile::openFile() {
  FB_TRY(file_, sys::openBeneath(Stage::logs, folder_, name_, O_WRONLY | O_APPEND | O_CREAT));
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0) {
    const int error = errno;
    file_.reset();
    return failErrno(Stage::logs, "examine " + name_, error);
  }
  if (info.st_nlink == 0) {
    file_.reset();
    return fail(Stage::logs, Reason::not_found, name_ + " was removed while it was opened");
  }
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
    file_.reset();
    return fail(Stage::logs, Reason::unsafe_file_type, name_ + " is not a regular file with one name");
  }
  if (::fchmod(file_.get(), 0640) != 0) return failErrno(Stage::logs, "set the mode of " + name_);
  size_ = static_cast<std::uint64_t>(info.st_size);
  return {};
}

void LogFile::write(std::string_view lines) {
  if (!folder_ || lines.empty()) return;
  if (!isCurrent()) static_cast<void>(openFile());
  if (size_ > 0 && size_ + lines.size() > limits_.maxBytes) rotate(Clock::system().wall());
  if (!file_) return;
  if (sys::writeAll(Stage::logs, file_, lines, name_)) {
    size_ += lines.size();
  } else if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
    file_.reset();  // it ends in half a line: write nothing more to it
  }
}

/// False once another program has rotated it, as kubelet does with a stand-in's log.
bool LogFile::isCurrent() const {
  struct stat ours {};
  struct stat named {};
  if (!file_ || ::fstat(file_.get(), &ours) != 0) return true;  // the next rotation tries again
  if (::fstatat(folder_.get(), name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0) return errno != ENOENT;
  return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/// Never over another file. NFS and older versions of ZFS cannot do that in one call. True also if there is
/// no file any more.
bool LogFile::moveAside(const std::string& rotated) const {
  const int folder = folder_.get();
  if (::renameat2(folder, name_.c_str(), folder, rotated.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL) return errno == ENOENT;
  struct stat other {};
  if (::fstatat(folder, rotated.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) return false;
  return ::renameat(folder, name_.c_str(), folder, rotated.c_str()) == 0 || errno == ENOENT;
}

void LogFile::rotate(Wall::time_point now) {
  const std::string rotated = name_ + "." + rotatedSuffix(now);
  // Twice within a second: the file exceeds its limit a little until the next rotation.
  if (!moveAside(rotated)) return;
  // Without a new file, lines are lost until the next rotation; the process matters more.
  static_cast<void>(openFile());
  prune();
}

void LogFile::prune() const {
  const auto names = sys::listDir(Stage::logs, folder_);
  if (!names) return;
  auto logs = LogName::in(*names);
  std::sort(logs.begin(), logs.end(), newer);
  for (std::size_t i = limits_.maxFiles; i < logs.size(); ++i) {
    if (logs[i].name != name_) ::unlinkat(folder_.get(), logs[i].name.c_str(), 0);
  }
}

}  // namespace fallbackd::launcher
