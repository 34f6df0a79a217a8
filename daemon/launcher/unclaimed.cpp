// SPDX-License-Identifier: Apache-2.0
#include "launcher/unclaimed.hpp"

#include "base/strings.hpp"
#include "launcher/cgroup/cgroup_leaf.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <map>
#include <set>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <utility>

#include <climits>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kMaxProcText = 1 << 20;
constexpr std::string_view kSpawner = "fallbackd-spawner";
constexpr std::string_view kMemfd = "/memfd:";
constexpr std::string_view kDeleted = " (deleted)";

std::string procPath(pid_t pid, const char* file) {
  return "/proc/" + std::to_string(pid) + "/" + file;
}

/// Empty if they cannot be determined.
std::optional<std::set<pid_t>> processesIn(const std::vector<std::string>& paths) {
  std::set<pid_t> pids;
  for (const auto& path : paths) {
    const auto text = sys::readFile(Stage::cgroup, path + "/cgroup.procs", kMaxProcText);
    if (!text && text.error().reason == Reason::not_found) continue;
    if (!text) return std::nullopt;
    for (const auto line : split(*text, '\n')) {
      pid_t pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (line.empty()) continue;
      if (pid == 0) return std::nullopt;  // invisible in our PID namespace
      pids.insert(pid);
    }
  }
  return pids;
}

pid_t parentOf(pid_t pid) {
  const auto stat = sys::readFile(Stage::run, procPath(pid, "stat"), kMaxProcText);
  const auto nameEnd = stat ? stat->rfind(") ") : std::string::npos;
  if (nameEnd == std::string::npos) return 0;
  const auto fields = split(std::string_view(*stat).substr(nameEnd + 2), ' ');  // state, parent, ...
  pid_t parent = 0;
  if (fields.size() > 1) std::from_chars(fields[1].data(), fields[1].data() + fields[1].size(), parent);
  return parent;
}

struct First {
  pid_t pid = 0;
  std::uint64_t startTime = 0;
};

/// The process in the leaf that none of the others created; the oldest if there are several; pid 0 if all
/// have ended. Empty if this cannot be determined.
std::optional<First> firstOf(const std::set<pid_t>& pids) {
  First first;
  for (const pid_t pid : pids) {
    const auto started = sys::startTimeOf(Stage::run, pid);
    if (!started && started.error().reason == Reason::not_found) continue;
    if (!started) return std::nullopt;
    if (pids.contains(parentOf(pid))) continue;
    if (first.pid == 0 || *started < first.startTime) first = {pid, *started};
  }
  return first;
}

/// An empty text for a process that has ended; nothing if it cannot be determined.
std::optional<std::string> executableOf(pid_t pid) {
  std::array<char, PATH_MAX> target{};
  const auto size = ::readlink(procPath(pid, "exe").c_str(), target.data(), target.size());
  if (size < 0 && errno != ENOENT && errno != ESRCH) return std::nullopt;
  return std::string(target.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
}

/// A launch runs the spawner's program until it executes the binary. Any other program is the fallback's: the
/// binary, or what it has executed in its place.
bool isSpawner(std::string_view executable) {
  if (executable.ends_with(kDeleted)) executable.remove_suffix(kDeleted.size());  // an upgrade replaced it
  return executable.substr(executable.rfind('/') + 1) == kSpawner;
}

std::optional<BinaryRef> binaryOf(std::string_view executable) {
  if (!executable.starts_with(kMemfd) || !executable.ends_with(kDeleted)) return std::nullopt;
  executable.remove_prefix(kMemfd.size());
  executable.remove_suffix(kDeleted.size());
  const auto ref = parseBinaryFileName(std::string(executable));
  return ref ? std::optional<BinaryRef>(*ref) : std::nullopt;
}

/// Without touching a file system that may not respond: the process may have opened anything.
std::optional<std::pair<dev_t, ino_t>> fifoAt(const std::string& path) {
  struct statx info {};
  const int found =
      ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO, &info);
  if (found != 0 || !S_ISFIFO(info.stx_mode)) return std::nullopt;
  return std::pair{makedev(info.stx_dev_major, info.stx_dev_minor), static_cast<ino_t>(info.stx_ino)};
}

std::string fifoDirOfProcess(pid_t pid, const std::vector<std::string>& fifoDirs) {
  const auto out = fifoAt(procPath(pid, "fd/1"));
  const auto err = fifoAt(procPath(pid, "fd/2"));
  for (const auto& folder : fifoDirs) {
    const bool its = (out && out == fifoAt(folder + "/stdout")) || (err && err == fifoAt(folder + "/stderr"));
    if (its) return folder;
  }
  return {};
}

}  // namespace

std::string podUidOf(const std::string& podCgroup) {
  std::string name = podCgroup.substr(podCgroup.rfind('/') + 1);
  constexpr std::string_view kPod = "pod";
  constexpr std::string_view kSlice = ".slice";
  if (name.starts_with(kPod)) return name.substr(kPod.size());
  const auto at = name.rfind("-pod");
  if (at == std::string::npos || !name.ends_with(kSlice)) return {};
  name = name.substr(at + 4, name.size() - at - 4 - kSlice.size());
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::vector<FoundLeaf> groupLeaves(const std::vector<std::string>& paths) {
  std::map<std::pair<std::string, std::string>, FoundLeaf> leaves;
  for (const auto& path : paths) {
    const auto slash = path.rfind('/');
    const auto uid = podUidOf(path.substr(0, slash));
    const auto container = path.substr(slash + 1 + leafName("").size());
    auto& leaf = leaves[{uid.empty() ? path : uid, container}];
    leaf.podUid = uid;
    leaf.container = container;
    leaf.paths.push_back(path);
  }
  std::vector<FoundLeaf> list;
  for (auto& [key, leaf] : leaves) list.push_back(std::move(leaf));
  return list;
}

LeafContent contentOf(const FoundLeaf& leaf, const std::vector<std::string>& fifoDirs) {
  LeafContent content;
  const auto pids = processesIn(leaf.paths);
  const auto first = pids ? firstOf(*pids) : std::nullopt;
  if (!first) {
    content.kind = LeafContent::Kind::unknown;
    return content;
  }
  if (first->pid == 0) return content;
  content.pid = first->pid;
  content.startTime = first->startTime;
  const auto executable = executableOf(content.pid);
  if (!executable) {
    content.kind = LeafContent::Kind::unknown;
    return content;
  }
  if (executable->empty()) return {};  // it has ended and has not been reaped
  if (isSpawner(*executable)) {
    content.kind = LeafContent::Kind::unfinished;
    return content;
  }
  content.kind = LeafContent::Kind::fallback;
  content.binary = binaryOf(*executable);
  content.fifoDir = fifoDirOfProcess(content.pid, fifoDirs);
  return content;
}

}  // namespace fallbackd::launcher
