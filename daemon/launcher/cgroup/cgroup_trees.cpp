// SPDX-License-Identifier: Apache-2.0
#include "launcher/cgroup/cgroup_trees.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"
#include "sys/process.hpp"
#include "sys/resolved_open.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kMaxProcsText = 1 << 20;
constexpr std::size_t kMaxNote = 1 << 16;
constexpr std::string_view kLeafPrefix = "fallback-";
constexpr std::string_view kProbeMark = ".probe.";

bool isLeafName(std::string_view name) {
  return sys::isSingleName(name) && name.starts_with(kLeafPrefix) && name.size() > kLeafPrefix.size();
}

bool isCgroup(const sys::DirFd& folder) {
  struct statfs info {};
  return ::fstatfs(folder.get(), &info) == 0 &&
         (info.f_type == CGROUP_SUPER_MAGIC || info.f_type == CGROUP2_SUPER_MAGIC);
}

/// Opens below `root` without leaving its mount, whatever `path` says.
Result<sys::DirFd> openInside(const sys::DirFd& root, const std::string& path) {
  const std::uint64_t resolve =
      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  sys::DirFd folder(
      sys::openResolved(root.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve));
  if (!folder) {
    const int error = errno;
    const bool leadsAway = error == EXDEV || error == ELOOP || error == ENOTDIR;
    const auto reason = error == ENOENT ? Reason::not_found
                        : leadsAway     ? Reason::unsafe_path
                                        : Reason::system;
    return fail(Stage::cgroup, reason, "open cgroup " + path, error);
  }
  if (!isCgroup(folder)) return fail(Stage::cgroup, Reason::unsafe_path, path + " is not a cgroup");
  return folder;
}

std::vector<pid_t> processesIn(const sys::DirFd& cgroup) {
  std::vector<pid_t> pids;
  const auto fd = sys::openBeneath(Stage::cgroup, cgroup, "cgroup.procs");
  const auto text = fd ? sys::readAll(Stage::cgroup, *fd, kMaxProcsText, "cgroup.procs")
                       : tl::unexpected<Error>(fd.error());
  if (!text) return pids;
  for (const auto line : split(*text, '\n')) {
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    if (pid > 1) pids.push_back(pid);  // 0: a process that is invisible in our pid namespace
  }
  return pids;
}

/// Opens the pidfd first and looks for the pid again after that. A pid that was reused meanwhile is either
/// not in the cgroup, or the pidfd belongs to a process that is.
void killOneByOne(const sys::DirFd& cgroup) {
  std::vector<std::pair<pid_t, sys::PidFd>> held;
  for (const pid_t pid : processesIn(cgroup)) {
    auto process = sys::openPidFd(Stage::cgroup, pid);
    if (process) held.emplace_back(pid, std::move(*process));
  }
  const auto still = processesIn(cgroup);
  for (const auto& [pid, process] : held) {
    if (std::find(still.begin(), still.end(), pid) != still.end())
      static_cast<void>(sys::sendSignal(Stage::cgroup, process, SIGKILL));
  }
}

/// Names of a note: the first belongs to root on every kernel; the second is for a daemon in a user
/// namespace.
std::array<std::string, 2> attributesOf(const std::string& key) {
  return {"trusted.fallbackd." + key, "user.fallbackd." + key};
}

/// ".../kubepods/burstable/podUID", or systemd's ".../kubepods-burstable-podUID.slice". kubelet's
/// --cgroup-root is a prefix of the slice's name: "kubelet-kubepods-burstable-podUID.slice".
bool isPodCgroup(const std::filesystem::path& path) {
  const auto name = path.filename().string();
  const auto& text = path.native();
  const bool ofKubelet =
      text.find("/kubepods") != std::string::npos || text.find("-kubepods") != std::string::npos;
  return ofKubelet &&
         (name.starts_with("pod") || (name.find("-pod") != std::string::npos && name.ends_with(".slice")));
}

/// The folders in it at the moment; none if it has vanished. Cgroups come and go all the time, and one that
/// does must not hide the others.
std::vector<std::filesystem::path> foldersIn(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    std::error_code gone;
    if (entry->is_directory(gone)) folders.push_back(entry->path());
    entry.increment(error);
  }
  return folders;
}

/// The folders of a process's cgroups, one per hierarchy.
Result<std::vector<std::string>> foldersOf(pid_t pid, const std::vector<sys::CgroupHierarchy>& hierarchies) {
  FB_TRY(const auto cgroups, sys::cgroupsOf(pid));
  std::vector<std::string> folders;
  for (const auto& cgroup : cgroups) {
    for (const auto& hierarchy : hierarchies) {
      const bool same = cgroup.controllers.empty() == hierarchy.unified &&
                        std::all_of(cgroup.controllers.begin(), cgroup.controllers.end(),
                                    [&](const auto& name) { return hierarchy.has(name); });
      if (same) folders.push_back(hierarchy.folderOf(cgroup.path));
    }
  }
  return folders;
}

}  // namespace

std::string leafName(const std::string& container) {
  return std::string(kLeafPrefix) + container;
}

std::string probeLeafName(const std::string& container, std::uint64_t number) {
  return leafName(container).append(kProbeMark).append(std::to_string(number));
}

bool isProbeLeafName(std::string_view name) {
  return name.starts_with(kLeafPrefix) && name.find(kProbeMark) != std::string_view::npos;
}

Result<> LeafFolder::make() const {
  if (::mkdirat(pod_.get(), name_.c_str(), 0755) != 0) {
    const auto reason = errno == EEXIST                      ? Reason::already_exists
                        : errno == ENOENT || errno == ENODEV ? Reason::not_found
                                                             : Reason::system;
    return fail(Stage::cgroup, reason, "create " + path_, errno);
  }
  // Without the note the leaf is not collected after a crash at the wrong moment; the fallback matters more.
  static_cast<void>(own());
  return {};
}

Result<sys::DirFd> LeafFolder::open() const {
  return openInside(pod_, name_);
}

void LeafFolder::kill() const {
  const auto cgroup = open();
  if (!cgroup) return;
  // v2 from 5.14 on: all at once, so that no process escapes by forking.
  const sys::UniqueFd all(::openat(cgroup->get(), "cgroup.kill", O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (all && ::write(all.get(), "1", 1) == 1) return;
  killOneByOne(*cgroup);
}

bool LeafFolder::remove() const {
  return ::unlinkat(pod_.get(), name_.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENODEV;
}

Result<> LeafFolder::write(const std::string& key, std::string_view value) const {
  FB_TRY(const auto cgroup, open());
  for (const auto& attribute : attributesOf(key)) {
    if (::fsetxattr(cgroup.get(), attribute.c_str(), value.data(), value.size(), 0) == 0) return {};
  }
  return failErrno(Stage::cgroup, "write " + key + " to " + path_);
}

std::optional<std::string> LeafFolder::read(const std::string& key) const {
  const auto cgroup = open();
  if (!cgroup) return std::nullopt;
  std::string value(kMaxNote, '\0');
  for (const auto& attribute : attributesOf(key)) {
    const ssize_t size = ::fgetxattr(cgroup->get(), attribute.c_str(), value.data(), value.size());
    if (size < 0) continue;
    value.resize(static_cast<std::size_t>(size));
    return value;
  }
  return std::nullopt;
}

LeafFolder::Owner LeafFolder::owner() const {
  const auto found = read(kOwner);
  if (!found) return Owner::unknown;
  if (*found == owner_) return Owner::ours;
  const auto tree = [](const std::string& owner) { return owner.substr(0, owner.find(' ')); };
  return tree(*found) == tree(owner_) ? Owner::runFolder : Owner::tree;
}

std::string LeafFolder::ownersRunDir() const {
  const auto found = read(kOwner).value_or("");
  const auto blank = found.find(' ');
  return blank == std::string::npos ? "" : found.substr(blank + 1);
}

Result<CgroupTrees> CgroupTrees::open(const std::vector<sys::CgroupHierarchy>& hierarchies,
                                      const std::string& runDir) {
  CgroupTrees all;
  all.hierarchies_ = hierarchies;
  for (const auto& hierarchy : hierarchies) {
    FB_TRY(auto root, sys::openDir(Stage::cgroup, hierarchy.mountPoint));
    struct stat info {};
    if (!isCgroup(root) || ::fstat(root.get(), &info) != 0)
      return fail(Stage::cgroup, Reason::not_permitted,
                  hierarchy.mountPoint + " is not a cgroup file system");
    // A node inside this one sees another root of the same hierarchy, and may use the same run folder.
    all.trees_.push_back({hierarchy.mountPoint, std::move(root), std::to_string(info.st_ino) + " " + runDir});
  }
  return all;
}

/// The innermost mount that contains the path.
const CgroupTrees::Tree* CgroupTrees::treeOf(const std::string& path) const {
  const Tree* found = nullptr;
  for (const auto& tree : trees_) {
    if (!path.starts_with(tree.mountPoint + "/")) continue;
    if (found == nullptr || tree.mountPoint.size() > found->mountPoint.size()) found = &tree;
  }
  return found;
}

Result<LeafFolder> CgroupTrees::leaf(const std::string& path) const {
  const auto* const tree = treeOf(path);
  const auto slash = path.rfind('/');
  const auto name = path.substr(slash + 1);
  // Never at the root itself: a leaf is below a pod.
  if (tree == nullptr || !isLeafName(name) || slash <= tree->mountPoint.size())
    return fail(Stage::cgroup, Reason::unsafe_path, fallbackd::quoted(path) + " is not one of our leaves");
  const auto begin = tree->mountPoint.size() + 1;
  FB_TRY(auto pod, openInside(tree->root, path.substr(begin, slash - begin)));
  return LeafFolder(std::move(pod), name, path, tree->owner);
}

std::vector<std::string> CgroupTrees::leaves() const {
  std::vector<std::string> found;
  for (const auto& tree : trees_) {
    std::vector<std::filesystem::path> left{tree.mountPoint};
    while (!left.empty()) {
      const auto folder = std::move(left.back());
      left.pop_back();
      // No deeper than a pod: it may be a node itself, with pods and fallbacks that are not ours.
      const bool pod = folder != tree.mountPoint && isPodCgroup(folder);
      for (auto& child : foldersIn(folder)) {
        if (!pod) {
          left.push_back(std::move(child));
        } else if (isLeafName(child.filename().string())) {
          found.push_back(child.string());
        }
      }
    }
  }
  return found;
}

Result<bool> CgroupTrees::hold(pid_t pid, const std::vector<std::string>& leaves) const {
  FB_TRY(const auto folders, foldersOf(pid, hierarchies_));
  return !leaves.empty() && std::all_of(leaves.begin(), leaves.end(), [&](const std::string& leaf) {
    return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
      return folder == leaf || folder.starts_with(leaf + "/");
    });
  });
}

}  // namespace fallbackd::launcher
