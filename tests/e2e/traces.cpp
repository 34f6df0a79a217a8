// SPDX-License-Identifier: Apache-2.0
#include "traces.hpp"

#include "base/strings.hpp"
#include "cgroups.hpp"
#include "sys/file.hpp"

#include <cstdlib>
#include <iterator>
#include <system_error>

namespace fallbackd::e2e {

namespace fs = std::filesystem;

namespace {

std::vector<pid_t> allProcesses() {
  std::vector<pid_t> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0) pids.push_back(pid);
  }
  return pids;
}

void countFds(pid_t pid, const std::string& whose, Traces& traces) {
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", gone)) {
    std::string target = fs::read_symlink(entry.path(), gone);
    if (target.find("/recoveries/") != std::string::npos) target = "FIFO";
    if (target.ends_with(".log")) target = "log file";
    if (target.find("/kubelet/logs/") != std::string::npos) target = "log folder";
    if (target.ends_with("/run/journal")) target = "journal folder";
    ++traces[whose + " fds: " + target.substr(0, target.find(":["))];
  }
}

std::size_t cgroupsNow() {
  std::size_t count = 0;
  const auto hierarchies = cgroupHierarchies();
  for (const auto& hierarchy : *hierarchies) {
    std::error_code gone;
    for (fs::recursive_directory_iterator it(hierarchy.mountPoint, gone), end; !gone && it != end;
         it.increment(gone)) {
      if (it->is_directory(gone)) ++count;
    }
  }
  return count;
}

}  // namespace

std::string procFile(pid_t pid, const std::string& name) {
  return sys::readFile(Stage::cli, "/proc/" + std::to_string(pid) + "/" + name, 1 << 20).value_or("");
}

pid_t spawnerOf(pid_t daemon) {
  for (const pid_t pid : allProcesses()) {
    const auto stat = procFile(pid, "stat");
    if (stat.find("(fallbackd-spawn) ") == std::string::npos) continue;
    const auto fields = split(std::string_view(stat).substr(stat.rfind(')') + 2), ' ');
    if (fields.size() > 1 && fields[1] == std::to_string(daemon)) return pid;
  }
  return 0;
}

std::size_t entriesOf(const fs::path& folder) {
  std::error_code missing;
  const fs::directory_iterator entries(folder, missing);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

Traces tracesOf(const Daemon& daemon) {
  Traces traces;
  countFds(daemon.pid(), "daemon", traces);
  const pid_t spawner = spawnerOf(daemon.pid());
  countFds(spawner, "spawner", traces);
  traces["spawner's mounts"] = split(procFile(spawner, "mountinfo"), '\n').size() - 1;
  traces["mounts of the node"] = split(procFile(::getpid(), "mountinfo"), '\n').size() - 1;
  traces["cgroups"] = cgroupsNow();
  for (const pid_t pid : allProcesses()) {
    const auto name = std::string(trim(procFile(pid, "comm")));
    // "z" for a zombie
    const bool zombie = procFile(pid, "stat").find(") Z ") != std::string::npos;
    if (!name.empty()) ++traces["processes: " + name + (zombie ? " (zombie)" : "")];
  }
  traces["folders of FIFOs"] = entriesOf(daemon.runFolder() / "recoveries");
  traces["journal entries"] = entriesOf(daemon.runFolder() / "journal");
  return traces;
}

}  // namespace fallbackd::e2e
