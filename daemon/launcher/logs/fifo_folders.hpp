// SPDX-License-Identifier: Apache-2.0
// The folders of recoveries' log FIFOs: RUNDIR/recoveries/ID. The name is the recovery's id alone, so no
// record can name another folder. One io_context thread; blocks briefly (tmpfs). Stage logs.
#pragma once

#include "base/error.hpp"
#include "sys/owned_folder.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::launcher {

enum class FifoEnd {
  daemon,   // reads without waiting
  process,  // opened for reading and writing: no departing reader can break it
};

class FifoFolders {
 public:
  /// Creates RUNDIR/recoveries, owned by root, if it is missing.
  static Result<FifoFolders> open(const std::string& runDir);

  /// For the journal and for people.
  [[nodiscard]] std::string pathOf(const std::string& recoveryId) const;
  /// The ids of all recoveries that have a folder.
  [[nodiscard]] std::vector<std::string> ids() const;

  /// Creates the folder and both FIFOs from scratch. `owner`: the process's user on the host, so that it may
  /// reopen its own /dev/stdout; root reads through the group, without CAP_DAC_OVERRIDE. `label`: SELinux's;
  /// empty: none.
  [[nodiscard]] Result<> make(const std::string& recoveryId, uid_t owner, const std::string& label) const;
  /// `name`: "stdout" or "stderr". Reason unsafe_file_type if it is no longer a FIFO. Only for new
  /// FIFOs: a program that has one open can make this call hang (OpenFifosQuestion).
  [[nodiscard]] Result<sys::UniqueFd> openFifo(const std::string& recoveryId, const std::string& name,
                                               FifoEnd end) const;
  /// The folder of one recovery. Reason not_found if it has none.
  [[nodiscard]] Result<sys::UniqueFd> openFolder(const std::string& recoveryId) const;
  /// A missing folder is fine.
  [[nodiscard]] Result<> remove(const std::string& recoveryId) const;

 private:
  FifoFolders(std::string path, sys::OwnedFolder folder)
      : path_(std::move(path)), folder_(std::move(folder)) {}
  std::string path_;
  sys::OwnedFolder folder_;
};

}  // namespace fallbackd::launcher
