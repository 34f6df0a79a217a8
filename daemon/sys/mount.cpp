// SPDX-License-Identifier: Apache-2.0
#include "sys/mount.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mount.h>

namespace fallbackd::sys {

Result<UniqueFd> copyMount(Stage stage, const UniqueFd& source, MountFlags flags, const std::string& what) {
  UniqueFd tree(
      ::open_tree(source.get(), "",
                  AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC)));
  if (!tree) return failErrno(stage, "copy the mount of " + what);
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (flags.readOnly) attributes.attr_set |= MOUNT_ATTR_RDONLY;
  if (flags.noExec) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
  if (flags.exec) attributes.attr_clr |= MOUNT_ATTR_NOEXEC;
  attributes.propagation = MS_PRIVATE;
  if (flags.idMap != nullptr) {
    attributes.attr_set |= MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<std::uint64_t>(flags.idMap->get());
  }
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) != 0) {
    if (errno == EINVAL && flags.idMap != nullptr) {
      return failErrno(
          stage, "map the owners of " + what + " to the pod's user namespace (a tmpfs needs Linux 6.3)");
    }
    return failErrno(stage, "set the attributes of the mount of " + what);
  }
  return tree;
}

}  // namespace fallbackd::sys
