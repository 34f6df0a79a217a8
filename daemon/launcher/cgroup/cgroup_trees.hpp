// SPDX-License-Identifier: Apache-2.0
// The cgroup hierarchies in which processes are killed and cgroups removed: through descriptors of their
// roots, always below a pod's cgroup, and only what has the name of one of our leaves. Calls block briefly;
// stage cgroup.
#pragma once

#include "base/error.hpp"
#include "sys/cgroup.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace fallbackd::launcher {

/// "fallback-CONTAINER"
std::string leafName(const std::string& container);
/// "fallback-CONTAINER.probe.NUMBER": a command that runs beside the fallback. No container's name has a dot.
/// Processes found in such a leaf are killed, never kept.
std::string probeLeafName(const std::string& container, std::uint64_t number);
bool isProbeLeafName(std::string_view name);

/// A leaf in one hierarchy, whether it exists or not, held through the folder of its pod.
class LeafFolder {
 public:
  [[nodiscard]] const std::string& path() const { return path_; }  // for the journal and for people

  /// Creates it, with its owner in it. Reason not_found if the pod is gone, already_exists if a leaf is left
  /// over.
  [[nodiscard]] Result<> make() const;
  /// The cgroup itself. Reason not_found if it does not exist.
  [[nodiscard]] Result<sys::DirFd> open() const;
  /// Sends SIGKILL to everything that is in it now. Never touches a process that left it or that reused a
  /// pid.
  void kill() const;
  /// True if it does not exist afterwards; false while it contains a process.
  [[nodiscard]] bool remove() const;

  /// A note that exists as long as the cgroup: an extended attribute that only root can write. Kernel 3.14
  /// with CAP_SYS_ADMIN in the initial user namespace, otherwise 5.7 (v2). At most about a page.
  [[nodiscard]] Result<> write(const std::string& key, std::string_view value) const;
  [[nodiscard]] std::optional<std::string> read(const std::string& key) const;

  enum class Owner : std::uint8_t {
    ours,       // created by a daemon with this run folder, on this tree
    unknown,    // not recorded: an older release, or a daemon that died in the middle
    runFolder,  // a daemon with another run folder, on this tree
    tree,       // the daemon of a node inside this one
  };
  [[nodiscard]] Owner owner() const;
  /// The recorded run folder; empty if there is none.
  [[nodiscard]] std::string ownersRunDir() const;
  /// Records that it is ours.
  [[nodiscard]] Result<> own() const { return write(kOwner, owner_); }

 private:
  friend class CgroupTrees;
  static constexpr const char* kOwner = "owner";
  LeafFolder(sys::DirFd pod, std::string name, std::string path, std::string owner)
      : pod_(std::move(pod)), name_(std::move(name)), path_(std::move(path)), owner_(std::move(owner)) {}
  sys::DirFd pod_;
  std::string name_;
  std::string path_;
  std::string owner_;
};

class CgroupTrees {
 public:
  /// Opens the root of every hierarchy. Reason not_permitted if one is not a cgroup file system. `runDir`
  /// distinguishes our leaves from another daemon's.
  static Result<CgroupTrees> open(const std::vector<sys::CgroupHierarchy>& hierarchies,
                                  const std::string& runDir);

  /// The leaf at a path from leafBelow() or a journal. Reason unsafe_path if it is not below a cgroup of
  /// these hierarchies or does not have a leaf's name; not_found if the pod's cgroup is gone.
  [[nodiscard]] Result<LeafFolder> leaf(const std::string& path) const;

  /// Paths of all leaves below pods' cgroups (kubepods, kubepods.slice, ROOT-kubepods.slice), whichever
  /// daemon created them. Reads the whole tree of folders; only for the start.
  [[nodiscard]] std::vector<std::string> leaves() const;

  /// Whether, according to the kernel, a process is in every one of these leaves, or below it. False for an
  /// empty list. Reason not_found if there is no such process.
  [[nodiscard]] Result<bool> hold(pid_t pid, const std::vector<std::string>& leaves) const;

 private:
  struct Tree {
    std::string mountPoint;
    sys::DirFd root;
    std::string owner;  // recorded in our leaves
  };
  [[nodiscard]] const Tree* treeOf(const std::string& path) const;
  std::vector<Tree> trees_;
  std::vector<sys::CgroupHierarchy> hierarchies_;
};

}  // namespace fallbackd::launcher
