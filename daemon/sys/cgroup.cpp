// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

namespace fallbackd::sys {

namespace {

constexpr std::size_t kMaxText = 4 << 20;
constexpr std::size_t kMaxMemberships = 1 << 16;  // one line per hierarchy, a path of at most 4 KiB
constexpr std::string_view kSlice = ".slice";

/// The mount table encodes space, tab, newline and backslash as three octal digits.
std::string unescapeMountField(std::string_view field) {
  std::string text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    int code = 0;
    if (field[i] == '\\' && i + 3 < field.size() &&
        std::from_chars(field.data() + i + 1, field.data() + i + 4, code, 8).ec == std::errc{}) {
      text.push_back(static_cast<char>(code));
      i += 3;
    } else {
      text.push_back(field[i]);
    }
  }
  return text;
}

/// v1 lists its controllers in the super options ("rw,cpu,cpuacct", "rw,xattr,name=systemd").
std::vector<std::string> controllersAmong(std::string_view superOptions) {
  static constexpr std::string_view kKnown[] = {"blkio",    "cpu",        "cpuacct", "cpuset", "devices",
                                                "freezer",  "hugetlb",    "memory",  "misc",   "net_cls",
                                                "net_prio", "perf_event", "pids",    "rdma"};
  std::vector<std::string> found;
  for (const auto option : split(superOptions, ',')) {
    if (option.starts_with("name=") ||
        std::find(std::begin(kKnown), std::end(kKnown), option) != std::end(kKnown)) {
      found.emplace_back(option);
    }
  }
  return found;
}

bool safeComponents(std::string_view path) {
  const auto parts = split(path, '/');
  return std::none_of(parts.begin(), parts.end(), [](auto part) { return part == "." || part == ".."; });
}

Result<std::string> expandSlice(std::string_view name) {
  const auto stem = name.substr(0, name.size() - kSlice.size());
  if (stem == "-") return std::string("/");
  std::string path;
  for (std::size_t dash = stem.find('-');; dash = stem.find('-', dash + 1)) {
    const auto prefix = stem.substr(0, dash);
    // systemd refuses a leading, trailing or doubled dash: it would mean a parent without a name.
    if (prefix.empty() || prefix.ends_with('-')) {
      return fail(Stage::cgroup, Reason::invalid, "slice name " + quoted(name));
    }
    path.append("/").append(prefix).append(kSlice);
    if (dash == std::string_view::npos) return path;
  }
}

}  // namespace

bool CgroupHierarchy::has(std::string_view controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

std::string CgroupHierarchy::folderOf(std::string_view path) const {
  // A mount that shows only part of the tree (inside a container) shows what is below that part.
  if (root != "/" && path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/')) {
    path.remove_prefix(root.size());
  }
  if (path == "/") path = {};
  return mountPoint + std::string(path);
}

std::vector<CgroupHierarchy> parseCgroupMounts(std::string_view mountInfo) {
  std::vector<CgroupHierarchy> found;
  for (const auto line : split(mountInfo, '\n')) {
    // 31 23 0:28 ROOT MOUNTPOINT OPTIONS [TAGS...] - TYPE SOURCE SUPEROPTIONS
    const auto words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.end() - dash < 4 || dash - words.begin() < 6) continue;
    const bool unified = dash[1] == "cgroup2";
    if (!unified && dash[1] != "cgroup") continue;
    CgroupHierarchy hierarchy{unescapeMountField(words[4]), unescapeMountField(words[3]),
                              unified ? std::vector<std::string>{} : controllersAmong(dash[3]), unified};
    const bool known = std::any_of(found.begin(), found.end(), [&](const CgroupHierarchy& other) {
      return other.unified == unified && other.controllers == hierarchy.controllers;
    });
    if (!known) found.push_back(std::move(hierarchy));
  }
  return found;
}

Result<std::vector<CgroupHierarchy>> cgroupHierarchies() {
  FB_TRY(const auto text, readFile(Stage::cgroup, "/proc/self/mountinfo", kMaxText));
  auto found = parseCgroupMounts(text);
  if (found.empty()) return fail(Stage::cgroup, Reason::not_found, "no cgroup file system is mounted");
  return found;
}

Result<std::vector<CgroupMembership>> cgroupsOf(pid_t pid) {
  FB_TRY(const auto text,
         readFile(Stage::cgroup, "/proc/" + std::to_string(pid) + "/cgroup", kMaxMemberships));
  std::vector<CgroupMembership> all;
  for (const auto line : split(text, '\n')) {
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    CgroupMembership one;
    const auto controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty()) {
      for (const auto name : split(controllers, ',')) one.controllers.emplace_back(name);
    }
    one.path = line.substr(second + 1);
    all.push_back(std::move(one));
  }
  return all;
}

Result<std::string> expandCgroupParent(std::string_view parent) {
  if (parent.empty() || parent.find('\0') != std::string_view::npos || !safeComponents(parent)) {
    return fail(Stage::cgroup, Reason::invalid, "cgroup parent " + quoted(parent));
  }
  if (parent.find('/') == std::string_view::npos && parent.ends_with(kSlice)) return expandSlice(parent);
  std::string path = parent.starts_with('/') ? std::string(parent) : "/" + std::string(parent);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Result<> writeCgroupFile(const std::string& path, std::string_view value) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) {
    return fail(Stage::cgroup, errno == ENOENT ? Reason::not_found : Reason::system, "open " + path, errno);
  }
  return writeAll(Stage::cgroup, fd, value, path);
}

unsigned long long readCgroupCounter(const std::string& path, std::string_view key) {
  const auto text = readFile(Stage::cgroup, path, 65536);
  if (!text) return 0;
  for (const auto line : split(*text, '\n')) {
    const auto words = split(line, ' ');
    unsigned long long value = 0;
    if (words.size() == 2 && words[0] == key) {
      std::from_chars(words[1].data(), words[1].data() + words[1].size(), value);
      return value;
    }
  }
  return 0;
}

Result<bool> joinHostCgroupNamespace() {
  FB_TRY(const auto own, namespaceOf(Stage::cgroup, ::gettid(), "cgroup"));
  FB_TRY(const auto host, namespaceOf(Stage::cgroup, 1, "cgroup"));
  if (own == host) return false;
  const UniqueFd fd(::open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC));
  if (!fd) return failErrno(Stage::cgroup, "open /proc/1/ns/cgroup");
  if (::setns(fd.get(), CLONE_NEWCGROUP) != 0)
    return failErrno(Stage::cgroup, "join the host's cgroup namespace");
  return true;
}

}  // namespace fallbackd::sys
