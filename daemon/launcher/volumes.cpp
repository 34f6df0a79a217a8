// SPDX-License-Identifier: Apache-2.0
#include "launcher/volumes.hpp"

#include "base/paths.hpp"
#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/mount.hpp"
#include "sys/resolved_open.hpp"

#include <algorithm>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>

namespace fallbackd::launcher {

namespace {

using config::Volume;

constexpr std::size_t kMaxVariable = 64 * 1024;

std::string_view pluginOf(Volume::Kind kind) {
  switch (kind) {
    case Volume::Kind::config_map:
      return "kubernetes.io~configmap";
    case Volume::Kind::secret:
      return "kubernetes.io~secret";
    case Volume::Kind::projected:
      return "kubernetes.io~projected";
    case Volume::Kind::empty_dir:
      return "kubernetes.io~empty-dir";
    case Volume::Kind::csi:
      return "kubernetes.io~csi";
    default:
      return "kubernetes.io~downward-api";
  }
}

bool plainName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

/// Opened as a location only (O_PATH), never outside `folder`. Empty with errno on failure.
sys::UniqueFd openPlace(const sys::UniqueFd& folder, const std::string& path, std::uint64_t resolve) {
  return sys::UniqueFd(sys::openResolved(folder.get(), path.c_str(), O_PATH,
                                         RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve));
}

/// Follows the volume's own symlinks (a ConfigMap's keys are some).
sys::UniqueFd openWithin(const sys::UniqueFd& volume, const std::string& path) {
  return openPlace(volume, path, 0);
}

/// kubelet creates a missing sub-path of an emptyDir when it creates the container; so do we.
Result<> makeSubPath(const sys::UniqueFd& volume, const std::string& subPath) {
  struct stat info {};
  if (::fstat(volume.get(), &info) != 0) return failErrno(Stage::rootfs, "stat a volume");
  for (std::size_t end = subPath.find('/');; end = subPath.find('/', end + 1)) {
    const std::string path = subPath.substr(0, end);
    if (!openWithin(volume, path)) {
      const auto slash = path.rfind('/');
      const auto parent =
          slash == std::string::npos ? openWithin(volume, ".") : openWithin(volume, path.substr(0, slash));
      const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
      if (!parent || (::mkdirat(parent.get(), name.c_str(), info.st_mode & 07777) != 0 && errno != EEXIST)) {
        return failErrno(Stage::rootfs, "create sub-path " + fallbackd::quoted(subPath));
      }
      // The umask applied to it; kubelet gives a sub-path the volume's mode and group. Through the
      // descriptor: another writer of the volume may have replaced it with a symlink.
      const auto made = openPlace(parent, name, RESOLVE_NO_SYMLINKS);
      const std::string self = "/proc/self/fd/" + std::to_string(made.get());
      if (!made || ::chmod(self.c_str(), info.st_mode & 07777) != 0 ||
          ::fchownat(made.get(), "", info.st_uid, info.st_gid, AT_EMPTY_PATH) != 0) {
        return failErrno(Stage::rootfs, "give sub-path " + fallbackd::quoted(subPath) + " its owner");
      }
    }
    if (end == std::string::npos) return {};
  }
}

std::string nameOf(const Volume& volume) {
  return volume.name.empty() ? "of type csi" : fallbackd::quoted(volume.name);
}

tl::unexpected<Error> notOpened(const Volume& volume, const std::string& path, int error) {
  const Reason reason = error == ENOENT                    ? Reason::volume_missing
                        : error == ELOOP || error == EXDEV ? Reason::unsafe_path
                                                           : Reason::system;
  return fail(Stage::rootfs, reason, "volume " + nameOf(volume) + " of the pod, at " + path, error);
}

/// The name of a persistent volume's folder is not known from the pod; a single one needs no name.
Result<std::string> onlyCsiVolume(const sys::UniqueFd& pods, const std::string& podUid) {
  const std::string path = podUid + "/volumes/" + std::string(pluginOf(Volume::Kind::csi));
  const auto place = openPlace(pods, path, RESOLVE_NO_SYMLINKS);
  if (!place)
    return fail(Stage::rootfs, Reason::volume_missing, "the pod has no CSI volume, at " + path, errno);
  const sys::DirFd folder(::openat(place.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return failErrno(Stage::rootfs, "open " + path);
  FB_TRY(const auto names, sys::listDir(Stage::rootfs, folder));
  if (names.size() == 1) return names.front();
  return fail(Stage::rootfs, names.empty() ? Reason::volume_missing : Reason::invalid,
              "the pod has " + std::to_string(names.size()) + " CSI volumes (" + join(names, ", ") +
                  "): the workload's volume must name one of them");
}

/// Stays inside the folder that the node's configuration allows for it.
Result<sys::UniqueFd> openHostPath(const VolumeSource& source, const Volume& volume) {
  for (const auto& allowed : source.allowedHostPaths) {
    if (volume.path != allowed && !volume.path.starts_with(allowed + "/")) continue;
    const sys::UniqueFd folder(::open(allowed.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return notOpened(volume, allowed, errno);
    auto place = openWithin(folder, volume.path == allowed ? "." : volume.path.substr(allowed.size() + 1));
    if (!place) return notOpened(volume, volume.path, errno);
    return place;
  }
  return fail(Stage::rootfs, Reason::not_permitted,
              "volume " + nameOf(volume) + ": " + volume.path +
                  " is not below any folder in launcher.allowedHostPaths");
}

Result<sys::UniqueFd> openRoot(const VolumeSource& source, const sys::UniqueFd& pods, const Volume& volume) {
  if (volume.kind == Volume::Kind::host_path) return openHostPath(source, volume);
  const bool csi = volume.kind == Volume::Kind::csi;
  if (!plainName(source.podUid) || (!plainName(volume.name) && !(csi && volume.name.empty()))) {
    return fail(Stage::rootfs, Reason::invalid,
                "volume " + nameOf(volume) + " of pod " + fallbackd::quoted(source.podUid));
  }
  std::string name = volume.name;
  if (name.empty()) {
    FB_TRY(name, onlyCsiVolume(pods, source.podUid));
  }
  std::string path = source.podUid + "/volumes/" + std::string(pluginOf(volume.kind)) + "/" + name;
  if (csi) path.append("/mount");  // beside it is the driver's own description
  auto root = openPlace(pods, path, RESOLVE_NO_SYMLINKS);
  if (!root) return notOpened(volume, path, errno);
  return root;
}

Result<sys::UniqueFd> openVolume(const VolumeSource& source, const sys::UniqueFd& pods,
                                 const Volume& volume) {
  FB_TRY(auto root, openRoot(source, pods, volume));
  if (volume.subPath.empty()) return root;

  auto inside = openWithin(root, volume.subPath);
  if (!inside && errno == ENOENT && volume.kind == Volume::Kind::empty_dir) {
    FB_CHECK(makeSubPath(root, volume.subPath));
    inside = openWithin(root, volume.subPath);
  }
  if (inside) return inside;
  const int error = errno;
  const std::string what = "sub-path " + fallbackd::quoted(volume.subPath) + " of volume " + nameOf(volume);
  if (error == EXDEV || error == ELOOP) {
    return fail(Stage::rootfs, Reason::unsafe_path, what + " leads out of the volume", error);
  }
  return fail(Stage::rootfs, error == ENOENT ? Reason::volume_missing : Reason::system, what, error);
}

Result<sys::UniqueFd> openPods(const VolumeSource& source) {
  sys::UniqueFd pods(::open(source.kubeletPods.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (pods) return pods;
  return fail(Stage::rootfs, errno == ENOENT ? Reason::volume_missing : Reason::system,
              "kubelet's pod folder " + source.kubeletPods, errno);
}

bool mayBeWritten(const Volume& volume) {
  using Kind = Volume::Kind;
  const bool data =
      volume.kind == Kind::empty_dir || volume.kind == Kind::csi || volume.kind == Kind::host_path;
  return data && !volume.readOnly;
}

bool isFolder(const sys::UniqueFd& fd) {
  struct stat info {};
  return ::fstat(fd.get(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

void PreparedMounts::add(MountTarget target, sys::UniqueFd tree) {
  targets.push_back(std::move(target));
  trees.push_back(std::move(tree));
}

void PreparedMounts::append(PreparedMounts others) {
  for (std::size_t i = 0; i < others.targets.size(); ++i) {
    add(std::move(others.targets[i]), std::move(others.trees[i]));
  }
}

Result<std::string> normalMountPath(const std::string& path) {
  const std::string normal = normalizedPath(path);
  const auto at = [&normal](std::string_view place) {
    return normal == place || (normal.starts_with(place) && normal[place.size()] == '/');
  };
  if (!path.starts_with('/') || normal == "/" || normal == "/dev" || at("/proc") || at("/sys")) {
    return fail(Stage::rootfs, Reason::invalid, "nothing can be mounted at " + fallbackd::quoted(path));
  }
  return normal;
}

Result<PreparedMounts> prepareVolumes(const VolumeSource& source, std::vector<Volume> volumes) {
  PreparedMounts prepared;
  if (volumes.empty()) return prepared;
  for (auto& volume : volumes) {
    FB_TRY(volume.mountPath, normalMountPath(volume.mountPath));
  }
  // A mount inside another one comes after it.
  std::stable_sort(volumes.begin(), volumes.end(), [](const Volume& left, const Volume& right) {
    return std::count(left.mountPath.begin(), left.mountPath.end(), '/') <
           std::count(right.mountPath.begin(), right.mountPath.end(), '/');
  });
  FB_TRY(const auto pods, openPods(source));
  for (const auto& volume : volumes) {
    FB_TRY(const auto place, openVolume(source, pods, volume));
    FB_TRY(auto tree,
           sys::copyMount(Stage::rootfs, place,
                          {.readOnly = !mayBeWritten(volume), .noExec = false, .idMap = source.idMap},
                          "volume " + nameOf(volume)));
    prepared.add({volume.mountPath, isFolder(place)}, std::move(tree));
  }
  return prepared;
}

Result<std::string> readVolumeFile(const VolumeSource& source, const std::vector<Volume>& volumes,
                                   const std::string& path) {
  const Volume* holder = nullptr;
  for (const auto& volume : volumes) {
    const bool holds = path == volume.mountPath || path.starts_with(volume.mountPath + "/");
    if (holds && (holder == nullptr || volume.mountPath.size() > holder->mountPath.size())) holder = &volume;
  }
  if (holder == nullptr)
    return fail(Stage::rootfs, Reason::volume_missing, path + " is not in any of the volumes");
  FB_TRY(const auto pods, openPods(source));
  FB_TRY(auto place, openVolume(source, pods, *holder));
  if (path != holder->mountPath) place = openWithin(place, path.substr(holder->mountPath.size() + 1));
  if (!place) return notOpened(*holder, path, errno);
  struct stat info {};
  if (::fstat(place.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(Stage::rootfs, Reason::unsafe_file_type,
                path + " of volume " + nameOf(*holder) + " is not a file");
  }
  const sys::UniqueFd file(
      ::open(("/proc/self/fd/" + std::to_string(place.get())).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failErrno(Stage::rootfs, "read " + path + " of volume " + nameOf(*holder));
  FB_TRY(auto content, sys::readAll(Stage::rootfs, file, kMaxVariable, path));
  if (content.find('\0') != std::string::npos) {
    return fail(Stage::rootfs, Reason::invalid,
                path + " contains a NUL byte, which a variable cannot contain");
  }
  return content;
}

Result<sys::UniqueFd> prepareNodeFile(const std::string& path) {
  const sys::UniqueFd source(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!source) return failErrno(Stage::rootfs, "open the node's " + path);
  return sys::copyMount(Stage::rootfs, source, {.readOnly = true, .noExec = true, .idMap = nullptr},
                        "the node's " + path);
}

Result<sys::UniqueFd> prepareShm(const std::string& path) {
  const sys::UniqueFd source(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!source) return failErrno(Stage::rootfs, "open the sandbox's /dev/shm " + path);
  return sys::copyMount(Stage::rootfs, source, {.readOnly = false, .noExec = true, .idMap = nullptr},
                        "the sandbox's /dev/shm");
}

}  // namespace fallbackd::launcher
