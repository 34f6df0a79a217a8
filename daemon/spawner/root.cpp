// SPDX-License-Identifier: Apache-2.0
// The child's mount namespace is a copy of the spawner's own, which holds one empty tmpfs, so neither the
// host's mounts nor their number matter here. The spare creates what every root contains, the child the rest.
#include "spawner/root.hpp"

#include "spawner/identity.hpp"
#include "spawner/own_root.hpp"
#include "spawner/tell.hpp"
#include "sys/resolved_open.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <string_view>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>

namespace fallbackd::launcher {

namespace {

constexpr unsigned long kQuiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;

void makeBareFolders(int reports) {
  for (const char* folder : kFolders) {
    if (::mkdir(folder, 0755) != 0) giveUp(reports, Step::root_folder, folder);
  }
}

void makeDevices(int reports) {
  // Created by us in a file system that no other process sees: never the host's /dev/null, which may not be
  // what it seems (CVE-2025-31133).
  for (const auto& device : kDevices) {
    if (::mknod(device.path, S_IFCHR | 0666, ::makedev(device.major, device.minor)) != 0) {
      giveUp(reports, Step::root_device, device.path);
    }
  }
  for (const auto& link : kLinks) {
    if (::symlink(link.target, link.path) != 0) giveUp(reports, Step::root_link, link.path);
  }
}

/// A file that exists already has one byte, which is overwritten: truncating it first would free its page.
bool writeFile(const char* path, mode_t mode, std::string_view content) {
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return false;
  const bool written = ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
                       (!content.empty() || ::ftruncate(fd, 0) == 0) && ::fchmod(fd, mode) == 0;
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

/// Allocating their inodes and pages costs a launch more than writing the content.
void makeUsualFiles(int reports) {
  for (const char* path : kUsualFiles) {
    if (!writeFile(path, 0644, "\n")) giveUp(reports, Step::root_file, path);
  }
}

/// pivot_root(".", ".") stacks the old root on top of the new one, from where it is unmounted.
void enterRoot(int reports) {
  if (::syscall(SYS_pivot_root, ".", ".") != 0) giveUp(reports, Step::pivot);
  if (::umount2(".", MNT_DETACH) != 0) giveUp(reports, Step::leave_old_root);
  if (::chdir("/") != 0) giveUp(reports, Step::root_check);
  char path[PATH_MAX];
  if (::getcwd(path, sizeof path) == nullptr) giveUp(reports, Step::root_check);
  if (std::strcmp(path, "/") != 0) {  // "(unreachable)/...": still outside (CVE-2024-21626)
    errno = EXDEV;
    giveUp(reports, Step::root_check);
  }
}

/// Gives a file of the root to the pod: root in the sandbox's user namespace is not root outside of it, and
/// SELinux allows a container only files with a container's label.
void giveToPod(ChildPlan& plan, const char* path) {
  const auto& order = plan.order;
  // Label first: labelling another user's file needs CAP_FOWNER.
  if (!order.fileLabel.empty() &&
      ::lsetxattr(path, kSeLinuxLabel, order.fileLabel.c_str(), order.fileLabel.size() + 1, 0) != 0) {
    giveUp(plan.reports, Step::root_label, path);
  }
  if (order.sandboxUsers && ::lchown(path, order.rootUid, order.rootGid) != 0) giveUp(plan, Step::root_owner);
}

void giveBareRootToPod(ChildPlan& plan) {
  giveToPod(plan, ".");
  for (const char* folder : kFolders) giveToPod(plan, folder);
  for (const auto& device : kDevices) giveToPod(plan, device.path);
  for (const auto& link : kLinks) giveToPod(plan, link.path);
}

void makeFolders(ChildPlan& plan) {
  for (std::size_t i = 0; i < plan.folders.size(); ++i) {
    if (::mkdir(plan.folders[i].c_str(), 0755) != 0 && errno != EEXIST) {
      giveUp(plan, Step::root_folder, static_cast<int>(i));
    }
    giveToPod(plan, plan.folders[i].c_str());
  }
}

/// Removes what the spare created and this root does not have.
void removeUnusedFiles(ChildPlan& plan) {
  const auto& files = plan.order.files;
  for (const char* path : kUsualFiles) {
    const bool used = std::any_of(files.begin(), files.end(), [path](const RootFile& file) {
      return std::string_view(file.path).substr(1) == path;
    });
    if (!used && ::unlink(path) != 0) giveUp(plan.reports, Step::root_file, path);
  }
}

void writeFiles(ChildPlan& plan) {
  removeUnusedFiles(plan);
  for (std::size_t i = 0; i < plan.order.files.size(); ++i) {
    const auto& file = plan.order.files[i];
    if (!writeFile(file.path.c_str() + 1, file.mode, file.content)) {
      giveUp(plan, Step::root_file, static_cast<int>(i));
    }
    giveToPod(plan, file.path.c_str() + 1);
  }
  // The target of a mounted file.
  for (std::size_t i = 0; i < plan.order.mounts.size(); ++i) {
    const auto& mount = plan.order.mounts[i];
    if (mount.directory) continue;
    const int fd = ::open(mount.path.c_str() + 1, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) giveUp(plan, Step::volume_target, static_cast<int>(i));
    ::close(fd);
  }
}

/// The daemon's own value must not be inherited: it may be one that no pod may have. Lowering it takes
/// CAP_SYS_RESOURCE, which not every machine grants.
void setOomScore(ChildPlan& plan) {
  const int fd = ::open("proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) giveUp(plan, Step::oom_score);
  const auto& value = plan.oomScoreAdj;
  if (::write(fd, value.data(), value.size()) < 0 && errno != EACCES) giveUp(plan, Step::oom_score);
  ::close(fd);
}

/// A /proc shows the PID namespace of the process that mounts it. This process stays outside the sandbox's,
/// so its own /proc exists for a moment only.
void mountProc(ChildPlan& plan) {
  if (::mount("proc", "proc", "proc", kQuiet, nullptr) != 0) giveUp(plan, Step::proc_mount);
  setOomScore(plan);
  labelProcess(plan);
  if (plan.order.pids != PidNamespace::sandbox) return;
  if (::umount2("proc", MNT_DETACH) != 0 ||
      ::move_mount(plan.sandboxProc, "", AT_FDCWD, "proc", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    giveUp(plan, Step::proc_mount);
  }
}

void maskProc(ChildPlan& plan) {
  for (std::size_t i = 0; i < kMasked.size(); ++i) {
    if (::mount("dev/null", kMasked[i], nullptr, MS_BIND, nullptr) == 0) continue;
    if (errno == ENOENT) continue;
    // A folder: covered with an empty one, which is read-only like the root by now.
    if (errno == ENOTDIR && ::mount("sys", kMasked[i], nullptr, MS_BIND, nullptr) == 0) continue;
    giveUp(plan, Step::proc_mask, static_cast<int>(i));
  }
  for (std::size_t i = 0; i < kReadOnly.size(); ++i) {
    if (::mount(kReadOnly[i], kReadOnly[i], nullptr, MS_BIND | MS_REC, nullptr) != 0) {
      if (errno == ENOENT) continue;
      giveUp(plan, Step::proc_read_only, static_cast<int>(i));
    }
    if (::mount(nullptr, kReadOnly[i], nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | kQuiet, nullptr) != 0) {
      giveUp(plan, Step::proc_read_only, static_cast<int>(i));
    }
  }
}

/// Without following any symlink: a volume mounted earlier may contain hostile ones.
constexpr std::uint64_t kInside = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/// Opens a path below the new root.
int openInside(const char* path, std::uint64_t flags) {
  return sys::openResolved(AT_FDCWD, path, flags, kInside);
}

/// As the pod's root, like a runtime: in a volume that is mapped to the pod's user namespace the node's root
/// has no number.
class AsRootOfPod {
 public:
  explicit AsRootOfPod(const ChildPlan& plan) : differs_(plan.order.sandboxUsers) {
    if (!differs_) return;
    ::setfsgid(plan.order.rootGid);
    ::setfsuid(plan.order.rootUid);
    keepAccess();
  }
  ~AsRootOfPod() {
    if (!differs_) return;
    const int error = errno;
    ::setfsuid(0);
    ::setfsgid(0);
    errno = error;
  }
  AsRootOfPod(const AsRootOfPod&) = delete;
  AsRootOfPod& operator=(const AsRootOfPod&) = delete;

 private:
  /// The root of a pod may do this in its volumes, whatever their owner. Any user id but the node's root
  /// loses it.
  static void keepAccess() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
    if (::syscall(SYS_capget, &header, sets) != 0) return;
    sets[0].effective |= sets[0].permitted & (1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH);
    static_cast<void>(::syscall(SYS_capset, &header, sets));
  }

  bool differs_;
};

/// Leaves what is there as it is.
bool makeEntry(const ChildPlan& plan, int folder, const char* name, bool directory) {
  const AsRootOfPod owner(plan);
  if (directory) return ::mkdirat(folder, name, 0755) == 0 || errno == EEXIST;
  const int made = ::openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (made >= 0) ::close(made);
  return made >= 0 || errno == EEXIST;
}

/// A mount point inside /tmp or an earlier volume has to be created there, with each folder on the way, as a
/// runtime would.
int makeTargetInside(const ChildPlan& plan, const MountTarget& mount) {
  char path[PATH_MAX];
  if (mount.path.size() > sizeof path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(path, mount.path.c_str() + 1, mount.path.size());
  int folder = openInside(".", O_PATH | O_DIRECTORY);
  for (char* name = path; folder >= 0;) {
    char* const slash = std::strchr(name, '/');
    const bool last = slash == nullptr;
    if (!last) *slash = '\0';
    const bool made = makeEntry(plan, folder, name, !last || mount.directory);
    const int next =
        made ? sys::openResolved(folder, name, last ? O_PATH : O_PATH | O_DIRECTORY, kInside) : -1;
    const int error = errno;
    ::close(folder);
    errno = error;
    if (last) return next;
    folder = next;
    name = slash + 1;
  }
  return -1;
}

void mountVolumes(ChildPlan& plan) {
  for (std::size_t i = 0; i < plan.order.mounts.size(); ++i) {
    const auto& mount = plan.order.mounts[i];
    int target = openInside(mount.path.c_str() + 1, O_PATH);
    if (target < 0 && errno == ENOENT) target = makeTargetInside(plan, mount);
    if (target < 0) giveUp(plan, Step::volume_target, static_cast<int>(i));
    if (::move_mount(plan.fds.mounts[i].get(), "", target, "",
                     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
      giveUp(plan, Step::volume_mount, static_cast<int>(i));
    }
    ::close(target);
  }
}

}  // namespace

void buildBareRoot(int reports) {
  ::umask(0);
  if (::mount("root", kNewRoot, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=4m,nr_inodes=4k") != 0 ||
      ::chdir(kNewRoot) != 0) {
    giveUp(reports, Step::root_mount);
  }
  makeBareFolders(reports);
  makeDevices(reports);
  makeUsualFiles(reports);
  enterRoot(reports);
}

void buildRoot(ChildPlan& plan) {
  giveBareRootToPod(plan);
  makeFolders(plan);
  writeFiles(plan);
  mountProc(plan);
  if (::mount("tmp", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, plan.tmpOptions.c_str()) != 0) {
    giveUp(plan, Step::tmp_mount);
  }
  giveToPod(plan, "tmp");
  if (::mount(nullptr, ".", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, nullptr) !=
      0) {
    giveUp(plan, Step::root_read_only);
  }
  maskProc(plan);
  mountVolumes(plan);
  ::umask(0022);
}

void showOwnProcesses(ChildPlan& plan) {
  if (::unshare(CLONE_NEWNS) != 0) giveUp(plan, Step::health_pids);
  if (::mount("proc", "proc", "proc", kQuiet, nullptr) != 0) giveUp(plan, Step::proc_mount);
  maskProc(plan);
}

}  // namespace fallbackd::launcher
