// SPDX-License-Identifier: Apache-2.0
#include "cgroups.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

namespace fallbackd::e2e {

namespace {

constexpr std::size_t kMaxText = 1 << 20;

/// The controllers among a v1 mount's super options ("rw,cpu,cpuacct", "rw,xattr,name=systemd").
std::string controllersOf(std::string_view superOptions) {
  std::vector<std::string> controllers;
  for (const auto option : split(superOptions, ',')) {
    const bool notOne = option == "rw" || option == "ro" || option == "xattr" || option == "noprefix" ||
                        option.starts_with("release_agent=") || option == "clone_children";
    if (!notOne) controllers.emplace_back(option);
  }
  return join(controllers, ",");
}

std::string firstWordOfFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

std::vector<std::filesystem::path> foldersBelow(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found{folder};
  std::error_code gone;  // folders may vanish meanwhile
  for (std::filesystem::recursive_directory_iterator it(folder, gone), end; !gone && it != end;
       it.increment(gone)) {
    if (it->is_directory(gone)) found.push_back(it->path());
  }
  return found;
}

bool removeFolders(const std::filesystem::path& folder) {
  auto folders = foldersBelow(folder);
  // In the walk, children come after their parents: remove from the end.
  for (auto it = folders.rbegin(); it != folders.rend(); ++it) ::rmdir(it->c_str());
  return ::access(folder.c_str(), F_OK) != 0;
}

}  // namespace

Result<std::vector<CgroupHierarchy>> cgroupHierarchies() {
  FB_TRY(const auto text, sys::readFile(Stage::cgroup, "/proc/self/mountinfo", kMaxText));
  std::vector<CgroupHierarchy> found;
  for (const auto line : split(text, '\n')) {
    const auto words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 10 || words.end() - dash < 4) continue;
    const bool unified = dash[1] == "cgroup2";
    if (!unified && dash[1] != "cgroup") continue;
    CgroupHierarchy hierarchy{std::filesystem::path(words[4]), std::string(words[3]),
                              unified ? "" : controllersOf(dash[3]), unified};
    const bool known = std::any_of(found.begin(), found.end(), [&](const CgroupHierarchy& other) {
      return other.unified == unified && other.controllers == hierarchy.controllers;
    });
    if (!known) found.push_back(std::move(hierarchy));
  }
  return found;
}

Result<std::filesystem::path> cgroupFolderOf(const CgroupHierarchy& hierarchy, pid_t pid) {
  const std::string file = "/proc/" + std::to_string(pid) + "/cgroup";
  FB_TRY(const auto text, sys::readFile(Stage::cgroup, file, kMaxText));
  for (const auto line : split(text, '\n')) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    if (line.substr(first + 1, second - first - 1) != hierarchy.controllers) continue;
    std::string path(line.substr(second + 1));
    // A mount that shows only part of the tree (inside a container) shows paths below that part.
    if (hierarchy.root != "/" && path.starts_with(hierarchy.root)) path.erase(0, hierarchy.root.size());
    return std::filesystem::path(hierarchy.mountPoint.string() + (path == "/" ? "" : path));
  }
  return fail(Stage::cgroup, Reason::not_found, "hierarchy " + hierarchy.controllers + " in " + file);
}

Result<> writeCgroupFile(const std::filesystem::path& file, const std::string& value) {
  const sys::UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return failErrno(Stage::cgroup, "open " + file.string());
  return sys::writeAll(Stage::cgroup, fd, value, file.string());
}

Result<> makeCgroup(const CgroupHierarchy& hierarchy, const std::filesystem::path& folder) {
  if (::access(folder.c_str(), F_OK) == 0) return {};
  if (folder != hierarchy.mountPoint) FB_CHECK(makeCgroup(hierarchy, folder.parent_path()));
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return failErrno(Stage::cgroup, "create " + folder.string());
  }
  for (const char* name : {"cpuset.cpus", "cpuset.mems"}) {
    if (hierarchy.unified || ::access((folder / name).c_str(), F_OK) != 0) continue;
    if (!firstWordOfFile(folder / name).empty()) continue;
    FB_CHECK(writeCgroupFile(folder / name, firstWordOfFile(folder.parent_path() / name)));
  }
  return {};
}

std::vector<pid_t> cgroupProcesses(const std::filesystem::path& folder) {
  std::vector<pid_t> pids;
  for (const auto& below : foldersBelow(folder)) {
    std::ifstream file(below / "cgroup.procs");
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
  }
  return pids;
}

Result<> destroyCgroup(const std::filesystem::path& folder, std::chrono::milliseconds deadline) {
  const bool removed = waitUntil(deadline, [&folder] {
    for (const pid_t pid : cgroupProcesses(folder)) {
      if (pid > 1) ::kill(pid, SIGKILL);  // 0: a process that our PID namespace cannot see
    }
    return removeFolders(folder);
  });
  if (!removed) return fail(Stage::cgroup, Reason::timeout, "remove cgroup " + folder.string());
  return {};
}

}  // namespace fallbackd::e2e
