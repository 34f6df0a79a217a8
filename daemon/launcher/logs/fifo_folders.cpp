// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/fifo_folders.hpp"

#include "launcher/logs/log_copy.hpp"
#include "spawner/protocol.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

namespace fallbackd::launcher {

namespace {

constexpr const char* kRecoveries = "recoveries";
// What the process can write while no daemon reads. 1 MiB is the kernel's limit for unprivileged users.
constexpr int kFifoBytes = 1 << 20;

}  // namespace

Result<FifoFolders> FifoFolders::open(const std::string& runDir) {
  FB_CHECK(sys::makeDirs(Stage::logs, runDir, 0755));
  FB_TRY(const auto above, sys::openDir(Stage::logs, runDir));
  FB_TRY(auto folder, sys::OwnedFolder::make(Stage::logs, above, kRecoveries));
  return FifoFolders(runDir + "/" + kRecoveries, std::move(folder));
}

std::string FifoFolders::pathOf(const std::string& recoveryId) const {
  return path_ + "/" + recoveryId;
}

std::vector<std::string> FifoFolders::ids() const {
  return sys::listDir(Stage::logs, folder_.dir()).value_or(std::vector<std::string>{});
}

Result<> FifoFolders::make(const std::string& recoveryId, uid_t owner, const std::string& label) const {
  FB_CHECK(remove(recoveryId));
  FB_TRY(const auto folder, sys::OwnedFolder::make(Stage::logs, folder_.dir(), recoveryId));
  const int dir = folder.dir().get();
  for (const char* name : {"stdout", "stderr"}) {
    const std::string what = std::string(name) + " of recovery " + recoveryId;
    if (::mkfifoat(dir, name, 0600) != 0) return failErrno(Stage::logs, "make FIFO " + what);
    // In this order: changing another user's file would take CAP_FOWNER.
    const auto path = "/proc/self/fd/" + std::to_string(dir) + "/" + name;
    if (!label.empty() && ::lsetxattr(path.c_str(), kSeLinuxLabel, label.c_str(), label.size() + 1, 0) != 0) {
      return failErrno(Stage::logs, "give FIFO " + what + " the SELinux label " + label);
    }
    if (::fchmodat(dir, name, 0660, 0) != 0 || ::fchownat(dir, name, owner, 0, AT_SYMLINK_NOFOLLOW) != 0) {
      return failErrno(Stage::logs, "give FIFO " + what + " to user " + std::to_string(owner));
    }
  }
  return {};
}

Result<sys::UniqueFd> FifoFolders::openFifo(const std::string& recoveryId, const std::string& name,
                                            FifoEnd end) const {
  FB_TRY(const auto folder, sys::OwnedFolder::open(Stage::logs, folder_.dir(), recoveryId));
  const std::string what = name + " of recovery " + recoveryId;
  const int flags = end == FifoEnd::daemon ? O_RDONLY | O_NONBLOCK : O_RDWR;
  FB_TRY(auto fifo, openFifoAt(folder.dir(), name, what, flags));
  // If the user's share of pipe memory is used up, the default of 64 KiB stays.
  if (end == FifoEnd::process) static_cast<void>(::fcntl(fifo.get(), F_SETPIPE_SZ, kFifoBytes));
  return fifo;
}

Result<sys::UniqueFd> FifoFolders::openFolder(const std::string& recoveryId) const {
  FB_TRY(const auto folder, sys::OwnedFolder::open(Stage::logs, folder_.dir(), recoveryId));
  sys::UniqueFd copy(::fcntl(folder.dir().get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return failErrno(Stage::logs, "hold the FIFO folder of recovery " + recoveryId);
  return copy;
}

Result<> FifoFolders::remove(const std::string& recoveryId) const {
  return sys::removeTree(Stage::logs, folder_, recoveryId);
}

}  // namespace fallbackd::launcher
