// The cgroup hierarchies as places in which something is ended and removed: by descriptors of their roots,
// always below a pod's cgroup, and only what is named as a leaf of ours. All calls block shortly; stage
// cgroup.
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

/// One leaf in one hierarchy, whether it exists or not, held by the folder of its pod.
class LeafFolder {
 public:
  [[nodiscard]] const std::string& path() const { return path_; }  // for the journal and for people

  /// Makes it, with its owner in it. Reason not_found where the pod is gone, already_exists where one is
  /// left.
  [[nodiscard]] Result<> make() const;
  /// The cgroup itself. Reason not_found where it is not there.
  [[nodiscard]] Result<sys::DirFd> open() const;
  /// SIGKILL to everything that is in it now. A process that left it, or came under the number of one, is not
  /// touched.
  void kill() const;
  /// True when it is not there afterwards; false while a process is in it.
  [[nodiscard]] bool remove() const;

  /// A note that stays with the cgroup as long as it exists: an extended attribute that only root can write.
  /// Kernel 3.14 with CAP_SYS_ADMIN in the first user namespace, else 5.7 (v2). At most a page or so.
  [[nodiscard]] Result<> write(const std::string& key, std::string_view value) const;
  [[nodiscard]] std::optional<std::string> read(const std::string& key) const;

  enum class Owner : std::uint8_t {
    ours,       // made by a daemon with this run folder, on this tree
    unknown,    // nobody wrote it down: an older release, or a daemon that died in the middle
    runFolder,  // a daemon with another run folder, on this tree
    tree,       // the daemon of a node inside this one
  };
  [[nodiscard]] Owner owner() const;
  /// The run folder that is written down; empty where none is.
  [[nodiscard]] std::string ownersRunDir() const;
  /// Writes down that it is ours.
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
  /// Opens the root of every hierarchy. Reason not_permitted where one is not a cgroup file system. `runDir`
  /// is what tells our leaves from another daemon's.
  static Result<CgroupTrees> open(const std::vector<sys::CgroupHierarchy>& hierarchies,
                                  const std::string& runDir);

  /// The leaf at a path that leafBelow() or a journal gave. Reason unsafe_path for one that is not below a
  /// cgroup of these hierarchies, or is not called as a leaf; not_found where the pod's cgroup is gone.
  [[nodiscard]] Result<LeafFolder> leaf(const std::string& path) const;

  /// Paths of all leaves below pods' cgroups (kubepods, kubepods.slice), whoever made them. Reads the whole
  /// tree of folders; for the start only.
  [[nodiscard]] std::vector<std::string> leaves() const;

  /// Whether a process is in every one of these leaves, or below it, as the kernel says. False for no leaves.
  /// Reason not_found where there is no such process.
  [[nodiscard]] Result<bool> hold(pid_t pid, const std::vector<std::string>& leaves) const;

 private:
  struct Tree {
    std::string mountPoint;
    sys::DirFd root;
    std::string owner;  // of leaves of ours
  };
  [[nodiscard]] const Tree* treeOf(const std::string& path) const;
  std::vector<Tree> trees_;
  std::vector<sys::CgroupHierarchy> hierarchies_;
};

}  // namespace fallbackd::launcher
