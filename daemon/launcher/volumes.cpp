#include "launcher/volumes.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/mount.hpp"

#include <algorithm>
#include <linux/openat2.h>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace fallbackd::launcher {

namespace {

using config::Volume;

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
    default:
      return "kubernetes.io~downward-api";
  }
}

bool plainName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

/// Only as a place (O_PATH), never out of `folder`. Empty with errno where that fails.
sys::UniqueFd openPlace(const sys::UniqueFd& folder, const std::string& path, std::uint64_t resolve) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve;
  // The kernel answers EAGAIN when a rename elsewhere raced with the walk; it says to try again.
  for (int attempt = 0; attempt < 16; ++attempt) {
    const long fd = ::syscall(SYS_openat2, folder.get(), path.c_str(), &how, sizeof how);
    if (fd >= 0) return sys::UniqueFd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return {};
}

/// Follows the volume's own symlinks (a ConfigMap's keys are some).
sys::UniqueFd openWithin(const sys::UniqueFd& volume, const std::string& path) {
  return openPlace(volume, path, 0);
}

/// kubelet creates a missing sub-path of an emptyDir when it makes the container; so do we.
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
      // The umask took its share; kubelet gives a sub-path the volume's mode and group.
      if (::fchmodat(parent.get(), name.c_str(), info.st_mode & 07777, 0) != 0 ||
          ::fchownat(parent.get(), name.c_str(), info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
        return failErrno(Stage::rootfs, "give sub-path " + fallbackd::quoted(subPath) + " its owner");
      }
    }
    if (end == std::string::npos) return {};
  }
}

Result<sys::UniqueFd> openVolume(const sys::UniqueFd& pods, const std::string& podUid, const Volume& volume) {
  if (!plainName(podUid) || !plainName(volume.name)) {
    return fail(Stage::rootfs, Reason::invalid,
                "volume " + fallbackd::quoted(volume.name) + " of pod " + fallbackd::quoted(podUid));
  }
  const std::string path = podUid + "/volumes/" + std::string(pluginOf(volume.kind)) + "/" + volume.name;
  auto root = openPlace(pods, path, RESOLVE_NO_SYMLINKS);
  if (!root) {
    const Reason reason = errno == ENOENT                    ? Reason::volume_missing
                          : errno == ELOOP || errno == EXDEV ? Reason::unsafe_path
                                                             : Reason::system;
    return fail(Stage::rootfs, reason, "volume " + fallbackd::quoted(volume.name) + " of the pod, at " + path,
                errno);
  }
  if (volume.subPath.empty()) return root;

  auto inside = openWithin(root, volume.subPath);
  if (!inside && errno == ENOENT && volume.kind == Volume::Kind::empty_dir) {
    FB_CHECK(makeSubPath(root, volume.subPath));
    inside = openWithin(root, volume.subPath);
  }
  if (inside) return inside;
  const int error = errno;
  const std::string what =
      "sub-path " + fallbackd::quoted(volume.subPath) + " of volume " + fallbackd::quoted(volume.name);
  if (error == EXDEV || error == ELOOP) {
    return fail(Stage::rootfs, Reason::unsafe_path, what + " leads out of the volume", error);
  }
  return fail(Stage::rootfs, error == ENOENT ? Reason::volume_missing : Reason::system, what, error);
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

std::string normalizedPath(std::string_view path) {
  std::vector<std::string_view> parts;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  std::string normal;
  for (const auto part : parts) normal.append("/").append(part);
  return normal.empty() ? "/" : normal;
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

Result<PreparedMounts> prepareVolumes(const std::string& kubeletPods, const std::string& podUid,
                                      std::vector<Volume> volumes) {
  PreparedMounts prepared;
  if (volumes.empty()) return prepared;
  for (auto& volume : volumes) {
    FB_TRY(volume.mountPath, normalMountPath(volume.mountPath));
  }
  // What is mounted inside another comes after it.
  std::stable_sort(volumes.begin(), volumes.end(), [](const Volume& left, const Volume& right) {
    return std::count(left.mountPath.begin(), left.mountPath.end(), '/') <
           std::count(right.mountPath.begin(), right.mountPath.end(), '/');
  });
  const sys::UniqueFd pods(::open(kubeletPods.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!pods) {
    return fail(Stage::rootfs, errno == ENOENT ? Reason::volume_missing : Reason::system,
                "kubelet's pod folder " + kubeletPods, errno);
  }
  for (const auto& volume : volumes) {
    FB_TRY(const auto source, openVolume(pods, podUid, volume));
    const bool writable = volume.kind == Volume::Kind::empty_dir && !volume.readOnly;
    FB_TRY(auto tree, sys::copyMount(Stage::rootfs, source, {.readOnly = !writable},
                                     "volume " + fallbackd::quoted(volume.name)));
    prepared.add({volume.mountPath, isFolder(source)}, std::move(tree));
  }
  return prepared;
}

Result<sys::UniqueFd> prepareShm(const std::string& path) {
  const sys::UniqueFd source(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!source) return failErrno(Stage::rootfs, "open the sandbox's /dev/shm " + path);
  return sys::copyMount(Stage::rootfs, source, {.readOnly = false, .noExec = true}, "the sandbox's /dev/shm");
}

}  // namespace fallbackd::launcher
