// SPDX-License-Identifier: Apache-2.0
#include "launcher/node_lock.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

// Accessible by root only (0700): anyone who can open a lock can take it.
constexpr const char* kLockFolder = "fallbackd.lock";
constexpr const char* kHolder = "trusted.fallbackd.holder";
constexpr std::size_t kMaxLocks = 4 << 20;
constexpr std::size_t kMaxHolder = 8192;

/// The same hierarchy for every daemon of a node: v2, otherwise the first by its controllers' names.
const sys::CgroupHierarchy* chosen(const std::vector<sys::CgroupHierarchy>& hierarchies) {
  const auto found =
      std::min_element(hierarchies.begin(), hierarchies.end(), [](const auto& left, const auto& right) {
        if (left.unified != right.unified) return left.unified;
        return left.controllers < right.controllers;
      });
  return found == hierarchies.end() ? nullptr : &*found;
}

/// The holder of the lock according to the kernel, as a pid of our namespace; empty if it is outside.
std::optional<pid_t> holderOf(const sys::DirFd& folder) {
  struct stat info {};
  if (::fstat(folder.get(), &info) != 0) return std::nullopt;
  std::array<char, 64> file{};
  std::snprintf(file.data(), file.size(), "%02x:%02x:%lu", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long>(info.st_ino));
  const auto text = sys::readFile(Stage::cgroup, "/proc/locks", kMaxLocks);
  if (!text) return std::nullopt;
  for (const auto line : split(*text, '\n')) {
    // "1: FLOCK  ADVISORY  WRITE 16879 00:20:4886 0 EOF"; "->" marks a process that waits
    auto words = split(line, ' ');
    std::erase(words, std::string_view());
    if (words.size() < 6 || words[1] != "FLOCK" || words[5] != file.data()) continue;
    const int pid = std::atoi(std::string(words[4]).c_str());  // NOLINT(cert-err34-c): 0 is "unknown"
    if (pid > 0) return pid;
  }
  return std::nullopt;
}

std::string holderText(const sys::DirFd& folder) {
  std::string text(kMaxHolder, '\0');
  const ssize_t size = ::fgetxattr(folder.get(), kHolder, text.data(), text.size());
  text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return text;
}

/// "process 4711, configuration /etc/fallbackd/fallbackd.yaml, run folder /run/fallbackd"
std::string describe(const sys::DirFd& folder) {
  const auto pid = holderOf(folder);
  const auto text = holderText(folder);
  const std::string process = pid ? "process " + std::to_string(*pid) : "process not visible from here";
  return text.empty() ? process : process + ", " + text;
}

/// The kernel creates the top of a v2 tree with mode 0555, and fallbackd has no CAP_DAC_OVERRIDE; root may
/// still give itself the right to write there.
Result<sys::OwnedFolder> makeLockFolder(const sys::DirFd& top) {
  auto folder = sys::OwnedFolder::make(Stage::cgroup, top, kLockFolder);
  if (folder || folder.error().errnum != EACCES) return folder;
  struct stat info {};
  if (::fstat(top.get(), &info) != 0 || ::fchmod(top.get(), (info.st_mode & 07777) | S_IWUSR) != 0)
    return folder;
  folder = sys::OwnedFolder::make(Stage::cgroup, top, kLockFolder);
  static_cast<void>(::fchmod(top.get(), info.st_mode & 07777));
  return folder;
}

}  // namespace

Result<NodeLock> NodeLock::take(const std::vector<sys::CgroupHierarchy>& hierarchies, const Holder& self) {
  const auto* const hierarchy = chosen(hierarchies);
  if (hierarchy == nullptr) return fail(Stage::cgroup, Reason::not_found, "no cgroup file system is mounted");
  const std::string what = hierarchy->mountPoint + "/" + kLockFolder;
  FB_TRY(const auto root, sys::openDir(Stage::cgroup, hierarchy->mountPoint));
  auto folder = makeLockFolder(root);
  if (!folder) {
    folder.error().context = "lock the node by " + what + ": " + folder.error().context;
    return tl::unexpected<Error>(folder.error());
  }
  sys::DirFd held(::fcntl(folder->dir().get(), F_DUPFD_CLOEXEC, 0));
  if (!held) return failErrno(Stage::cgroup, "hold " + what);
  if (::flock(held.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failErrno(Stage::cgroup, "lock " + what);
    return fail(Stage::cgroup, Reason::already_exists,
                "another fallbackd runs on this node (" + describe(held) +
                    "): two of them would end each other's fallbacks; stop that one first");
  }
  // Only for the message; the lock does not depend on it.
  const std::string holder = "configuration " + self.configFile + ", run folder " + self.runDir;
  static_cast<void>(::fsetxattr(held.get(), kHolder, holder.data(), holder.size(), 0));
  return NodeLock(std::move(held));
}

}  // namespace fallbackd::launcher
