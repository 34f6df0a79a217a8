// SPDX-License-Identifier: Apache-2.0
#include "config/watched_paths.hpp"

#include "config/files.hpp"

#include <deque>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <utility>

#include <climits>

namespace fallbackd::config {

namespace {

// CREATE is for symlinks, hard links and folders; a new file has its content only at CLOSE_WRITE.
constexpr std::uint32_t kFolderMask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                                      IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
// For a file that is itself a bind mount: its writer is in another folder.
constexpr std::uint32_t kFileMask = IN_CLOSE_WRITE | IN_ATTRIB;

constexpr int kMaxSymlinks = 40;  // as many as the kernel follows

void prepend(std::deque<std::string>& parts, const std::filesystem::path& path) {
  std::deque<std::string> added;
  for (const auto& part : path.relative_path()) added.push_back(part.string());
  parts.insert(parts.begin(), added.begin(), added.end());
}

Result<std::string> absolutePathOf(const std::string& path) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error);
  if (error) return fail(Stage::config, Reason::system, "find the folder of " + path, error.value());
  return absolute.string();
}

}  // namespace

WatchedPaths::WatchedPaths(sys::Inotify inotify, std::string mainFile, std::string dropInDir)
    : inotify_(std::move(inotify)), mainFile_(std::move(mainFile)), dropInDir_(std::move(dropInDir)) {}

Result<WatchedPaths> WatchedPaths::create(const std::string& mainFile, const std::string& dropInDir) {
  FB_TRY(auto file, absolutePathOf(mainFile));
  FB_TRY(auto folder, absolutePathOf(dropInDir));
  FB_TRY(auto inotify, sys::Inotify::create(Stage::config));
  return WatchedPaths(std::move(inotify), std::move(file), std::move(folder));
}

/// Walks a path as the kernel does, watching each folder before looking into it. Returns the folder that the
/// path leads to; empty if it leads nowhere.
Result<std::string> WatchedPaths::followPath(const std::string& path, Watches& watches) {
  namespace fs = std::filesystem;
  std::deque<std::string> parts;
  prepend(parts, path);
  fs::path current = "/";
  int symlinks = 0;
  while (!parts.empty()) {
    const auto part = std::move(parts.front());
    parts.pop_front();
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      current = current.parent_path();
      continue;
    }
    const auto watch = inotify_.addWatch(Stage::config, current.string(), kFolderMask);
    if (!watch) {
      // It was removed in the meantime. The watch on its parent reports when it returns.
      if (watch.error().reason == Reason::not_found) return std::string();
      return tl::unexpected<Error>(watch.error());
    }
    watches[*watch].names.insert(part);
    const auto next = current / part;
    std::error_code error;
    const auto kind = fs::symlink_status(next, error).type();
    if (kind == fs::file_type::symlink) {
      const auto target = fs::read_symlink(next, error);
      if (error || ++symlinks > kMaxSymlinks) return std::string();
      if (target.is_absolute()) current = "/";
      prepend(parts, target);
    } else if (kind == fs::file_type::directory) {
      current = next;
    } else {
      if (kind == fs::file_type::regular) {
        // Best effort: the folder's watch is what counts.
        const auto file = inotify_.addWatch(Stage::config, next.string(), kFileMask);
        if (file) watches[*file].self = true;
      }
      return std::string();
    }
  }
  return current.string();
}

Result<> WatchedPaths::followDropIns(Watches& watches) {
  FB_TRY(const auto folder, followPath(dropInDir_, watches));
  if (folder.empty()) return {};
  const auto watch = inotify_.addWatch(Stage::config, folder, kFolderMask);
  if (!watch && watch.error().reason == Reason::not_found) return {};
  FB_CHECK(watch);
  watches[*watch].dropIns = true;
  Problems unreadable;  // the loader reports them
  for (const auto& file : listDropIns(folder, false, unreadable)) FB_CHECK(followPath(file, watches));
  return {};
}

Result<> WatchedPaths::follow() {
  Watches watches;
  FB_CHECK(followPath(mainFile_, watches));
  FB_CHECK(followDropIns(watches));
  for (const auto& [watch, ignored] : watches_) {
    if (!watches.contains(watch)) inotify_.removeWatch(watch);
  }
  watches_ = std::move(watches);
  return {};
}

bool WatchedPaths::drain() {
  bool matters = false;
  for (const auto& event : inotify_.read()) {
    if ((event.mask & IN_Q_OVERFLOW) != 0) matters = true;
    const auto found = watches_.find(event.watch);
    if (found == watches_.end()) continue;
    const auto& watch = found->second;
    // An event without a name is about the watched folder or file itself.
    matters = matters || watch.self || event.name.empty() || watch.names.contains(event.name) ||
              (watch.dropIns && isDropInName(event.name));
  }
  return matters;
}

}  // namespace fallbackd::config
