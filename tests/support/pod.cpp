// SPDX-License-Identifier: Apache-2.0
#include "pod.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "process.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"
#include "wait.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;

bool inMemory(PodVolume::Kind kind) {
  return kind == PodVolume::Kind::secret || kind == PodVolume::Kind::projected;
}

bool isMountPoint(const fs::path& folder) {
  struct stat self {};
  struct stat parent {};
  return ::stat(folder.c_str(), &self) == 0 && ::stat(folder.parent_path().c_str(), &parent) == 0 &&
         self.st_dev != parent.st_dev;
}

Result<> makeVolumeFolder(const fs::path& folder, PodVolume::Kind kind) {
  FB_CHECK(sys::makeDirs(Stage::cli, folder, 0750));
  if (inMemory(kind) && !isMountPoint(folder) &&
      ::mount("tmpfs", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") != 0) {
    return failErrno(Stage::cli, "mount the tmpfs of " + folder.string());
  }
  // kubelet leaves the folder itself open: the modes of its content decide.
  if (::chmod(folder.c_str(), 0777) != 0) return failErrno(Stage::cli, "chmod " + folder.string());
  return {};
}

Result<> writeFiles(const fs::path& folder, const std::map<std::string, std::string>& files) {
  for (const auto& [key, content] : files) {
    fs::create_directories((folder / key).parent_path());
    std::ofstream file(folder / key);
    file << content;
    file.close();
    if (!file) return fail(Stage::cli, Reason::system, "write " + (folder / key).string());
    fs::permissions(folder / key, fs::perms(0644));
  }
  return {};
}

/// Creates links for the first component of every key ("a/b" is reached through the link "a").
Result<> linkThroughData(const fs::path& folder, const std::map<std::string, std::string>& files) {
  for (const auto& [key, content] : files) {
    const std::string first = key.substr(0, key.find('/'));
    if (::symlink(("..data/" + first).c_str(), (folder / first).c_str()) != 0 && errno != EEXIST) {
      return failErrno(Stage::cli, "link " + (folder / first).string());
    }
  }
  return {};
}

bool isActive(const std::string& unit) {
  const auto asked = run({.argv = {"systemctl", "is-active", "--quiet", unit}, .env = {}, .output = {}});
  return asked && asked->code == 0;
}

/// Starts it with the properties that kubelet (libcontainer) sets.
Result<> startSlice(const std::string& name, const std::string& parent) {
  if (isActive(name)) return {};
  const std::string manager = "org.freedesktop.systemd1";
  // "--" because of "-.slice".
  Command call{.argv = {"busctl", "--", "call", manager, "/org/freedesktop/systemd1", manager + ".Manager",
                        "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "replace", "7"},
               .env = {},
               .output = {}};
  call.argv.insert(call.argv.end(), {"Description", "s", "libcontainer container " + name});
  call.argv.insert(call.argv.end(), {"Wants", "as", "1", parent});
  for (const char* account : {"MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"}) {
    call.argv.insert(call.argv.end(), {account, "b", "true"});
  }
  call.argv.insert(call.argv.end(), {"DefaultDependencies", "b", "false", "0"});
  FB_CHECK(runOk(call));
  if (waitUntil(std::chrono::seconds(20), [&] { return isActive(name); })) return {};
  return fail(Stage::cli, Reason::timeout, "start " + name);
}

}  // namespace

std::string makeUid() {
  std::array<std::byte, 16> bytes{};
  (void)!::getrandom(bytes.data(), bytes.size(), 0);  // cannot fail for so few bytes
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text = toHex(bytes);
  for (const std::size_t at : {20U, 16U, 12U, 8U}) text.insert(at, "-");
  return text;
}

std::string volumePluginFolder(PodVolume::Kind kind) {
  switch (kind) {
    case PodVolume::Kind::config_map:
      return "kubernetes.io~configmap";
    case PodVolume::Kind::secret:
      return "kubernetes.io~secret";
    case PodVolume::Kind::projected:
      return "kubernetes.io~projected";
    case PodVolume::Kind::downward_api:
      return "kubernetes.io~downward-api";
    case PodVolume::Kind::empty_dir:
      break;
  }
  return "kubernetes.io~empty-dir";
}

Result<> writeVolume(const fs::path& podFolder, const PodVolume& volume) {
  const fs::path folder = podFolder / "volumes" / volumePluginFolder(volume.kind) / volume.name;
  FB_CHECK(makeVolumeFolder(folder, volume.kind));
  if (volume.kind == PodVolume::Kind::empty_dir) return writeFiles(folder, volume.files);

  std::error_code none;  // the first time there is nothing to replace
  const fs::path previous = fs::read_symlink(folder / "..data", none);
  std::string stamp = ".." + rfc3339(Wall::now());
  for (char& letter : stamp) {
    if (letter == '-' || letter == ':' || letter == 'T') letter = '_';
  }
  fs::create_directory(folder / stamp);
  FB_CHECK(writeFiles(folder / stamp, volume.files));
  fs::create_symlink(stamp, folder / "..data_tmp");
  if (::rename((folder / "..data_tmp").c_str(), (folder / "..data").c_str()) != 0) {
    return failErrno(Stage::cli, "swap ..data of " + folder.string());
  }
  FB_CHECK(linkThroughData(folder, volume.files));
  if (!previous.empty()) fs::remove_all(folder / previous, none);
  return {};
}

Result<> removeFolder(const fs::path& folder) {
  auto parent = sys::openDir(Stage::cli, folder.parent_path());
  if (!parent && parent.error().reason == Reason::not_found) return {};
  if (!parent) return tl::unexpected<Error>(parent.error());
  FB_TRY(const auto owned, sys::OwnedFolder::take(Stage::cli, std::move(*parent), folder.parent_path()));
  return sys::removeTree(Stage::cli, owned, folder.filename());
}

Result<> removePodFolder(const fs::path& podFolder) {
  std::error_code none;  // a pod without volumes has no such folder
  for (const auto& plugin : fs::directory_iterator(podFolder / "volumes", none)) {
    for (const auto& volume : fs::directory_iterator(plugin.path(), none)) {
      if (isMountPoint(volume.path())) ::umount2(volume.path().c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    }
  }
  return removeFolder(podFolder);
}

std::string podCgroup(const std::string& uid, const std::string& top) {
  return top + "/kubepods/burstable/pod" + uid;
}

std::string podSlice(const std::string& uid) {
  std::string name = uid;
  std::replace(name.begin(), name.end(), '-', '_');  // a dash separates a slice from its parent
  return "kubepods-burstable-pod" + name + ".slice";
}

Result<std::vector<fs::path>> makePodCgroup(const PodSpec& spec) {
  FB_TRY(const auto hierarchies, cgroupHierarchies());
  std::vector<fs::path> folders;
  if (spec.slice) {
    const std::string own = podSlice(spec.uid);
    FB_CHECK(startSlice("kubepods.slice", "-.slice"));
    FB_CHECK(startSlice("kubepods-burstable.slice", "kubepods.slice"));
    FB_CHECK(startSlice(own, "kubepods-burstable.slice"));
    for (const auto& hierarchy : hierarchies) {
      const auto folder = hierarchy.mountPoint / "kubepods.slice/kubepods-burstable.slice" / own;
      if (fs::exists(folder)) folders.push_back(folder);
    }
    return folders;
  }
  for (const auto& hierarchy : hierarchies) {
    folders.emplace_back(hierarchy.mountPoint.string() + podCgroup(spec.uid, spec.cgroupTop));
    FB_CHECK(makeCgroup(hierarchy, folders.back()));
  }
  return folders;
}

Result<> removePodCgroup(const PodSpec& spec, const std::vector<fs::path>& cgroups) {
  for (const auto& cgroup : cgroups) FB_CHECK(destroyCgroup(cgroup));
  if (!spec.slice) return {};
  FB_CHECK(runOk({.argv = {"systemctl", "stop", podSlice(spec.uid)}, .env = {}, .output = {}}));
  return {};
}

}  // namespace fallbackd::e2e
