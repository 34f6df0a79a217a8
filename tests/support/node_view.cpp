// SPDX-License-Identifier: Apache-2.0
#include "node_view.hpp"

#include "cgroups.hpp"
#include "read_only.hpp"
#include "sys/file.hpp"

#include <cstring>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;

Result<> mountAt(const char* type, const fs::path& where, unsigned long flags, const std::string& data) {
  if (::mount(type, where.c_str(), type, flags, data.c_str()) == 0) return {};
  return failErrno(Stage::cli, "mount " + std::string(type) + " at " + where.string());
}

/// Mounts the hierarchies again with our cgroup namespace's root as their root. The old mounts are removed,
/// not only covered, because runc reads the mount table and would use the first mount that it finds.
Result<> mountCgroups() {
  FB_TRY(const auto hierarchies, cgroupHierarchies());
  std::vector<std::pair<fs::path, fs::path>> links;  // cpu -> cpu,cpuacct and so on
  for (const auto& entry : fs::directory_iterator("/sys/fs/cgroup")) {
    if (entry.is_symlink()) links.emplace_back(entry.path(), fs::read_symlink(entry.path()));
  }
  if (::umount2("/sys/fs/cgroup", MNT_DETACH) != 0) return failErrno(Stage::cli, "unmount /sys/fs/cgroup");
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const bool pureV2 = hierarchies.size() == 1 && hierarchies.front().unified;
  if (!pureV2) FB_CHECK(mountAt("tmpfs", "/sys/fs/cgroup", flags, "mode=755"));
  for (const auto& hierarchy : hierarchies) {
    fs::create_directories(hierarchy.mountPoint);
    FB_CHECK(mountAt(hierarchy.unified ? "cgroup2" : "cgroup", hierarchy.mountPoint, flags,
                     hierarchy.controllers));
  }
  for (const auto& [link, target] : links) fs::create_symlink(target, link);
  return {};
}

/// An empty /run, so that /run/containerd, /run/netns, /run/runc, /run/xtables.lock are ours; as on many
/// nodes, no program can be started from it. If the machine's resolv.conf is in /run, it stays visible.
Result<> coverRun() {
  std::error_code missing;
  const fs::path resolvConf = fs::canonical("/etc/resolv.conf", missing);
  const auto content = sys::readFile(Stage::cli, "/etc/resolv.conf", 1 << 16);
  FB_CHECK(mountAt("tmpfs", "/run", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755"));
  if (missing || !content || !resolvConf.string().starts_with("/run/")) return {};
  FB_CHECK(sys::makeDirs(Stage::cli, resolvConf.parent_path(), 0755));
  FB_TRY(const auto dir, sys::openDir(Stage::cli, resolvConf.parent_path()));
  return sys::replaceFile(Stage::cli, dir, resolvConf.filename(), *content, 0644);
}

/// CNI insists on /var/lib/cni, which may not exist: writes below /var/lib go to memory.
Result<> coverVarLib(const fs::path& scratch) {
  const fs::path memory = scratch / "varlib";
  FB_CHECK(sys::makeDirs(Stage::cli, memory, 0700));
  FB_CHECK(mountAt("tmpfs", memory, MS_NOSUID | MS_NODEV, "mode=755"));
  FB_CHECK(sys::makeDirs(Stage::cli, memory / "upper", 0755));
  FB_CHECK(sys::makeDirs(Stage::cli, memory / "work", 0755));
  return mountAt(
      "overlay", "/var/lib", 0,
      "lowerdir=/var/lib,upperdir=" + (memory / "upper").string() + ",workdir=" + (memory / "work").string());
}

Result<> bringUpLoopback() {
  const sys::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return failErrno(Stage::cli, "bring up lo");
  return {};
}

/// Also sets the folder for temporary files: /tmp belongs to the machine.
Result<> guardMachine(const fs::path& scratch, const std::vector<fs::path>& outputs) {
  auto writable = outputs;
  writable.push_back(scratch);
  FB_CHECK(test::makeMachineReadOnly(writable));
  const fs::path temporary = scratch / "tmp";
  FB_CHECK(sys::makeDirs(Stage::cli, temporary, 0700));
  return test::keepTemporaryFilesIn(temporary);
}

}  // namespace

Result<> makeNodeView(const fs::path& scratch, const std::vector<fs::path>& outputs) {
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return failErrno(Stage::cli, "make all mounts private");
  }
  FB_CHECK(guardMachine(scratch, outputs));
  FB_CHECK(mountAt("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""));
  FB_CHECK(mountCgroups());
  FB_CHECK(coverRun());
  FB_CHECK(coverVarLib(scratch));
  FB_CHECK(bringUpLoopback());
  FB_CHECK(writeCgroupFile("/proc/sys/net/ipv4/ip_forward", "1"));
  constexpr std::string_view name = "e2e-node";
  if (::sethostname(name.data(), name.size()) != 0) return failErrno(Stage::cli, "set the host name");
  return {};
}

}  // namespace fallbackd::e2e
