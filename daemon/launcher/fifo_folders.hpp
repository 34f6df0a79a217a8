// The folders of recoveries' log FIFOs: RUNDIR/recoveries/ID. Named by the recovery's id alone, so that no
// record of one can name another folder. One io_context thread; blocks briefly (tmpfs). Stage logs.
#pragma once

#include "base/error.hpp"
#include "sys/owned_folder.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::launcher {

enum class FifoEnd {
  daemon,   // reads, without waiting
  process,  // opened for reading and writing: no reader that goes can ever break it
};

class FifoFolders {
 public:
  /// Makes RUNDIR/recoveries where it is missing, root's own.
  static Result<FifoFolders> open(const std::string& runDir);

  /// For the journal and for people.
  [[nodiscard]] std::string pathOf(const std::string& recoveryId) const;
  /// Of all recoveries that have a folder.
  [[nodiscard]] std::vector<std::string> ids() const;

  /// Makes the folder and both FIFOs again. `owner`: the process's user on the host; it may open its own
  /// /dev/stdout again, and root reads by the group, without CAP_DAC_OVERRIDE.
  [[nodiscard]] Result<> make(const std::string& recoveryId, uid_t owner) const;
  /// `name`: "stdout" or "stderr". Reason unsafe_file_type where it is not a FIFO any more.
  [[nodiscard]] Result<sys::UniqueFd> openFifo(const std::string& recoveryId, const std::string& name,
                                               FifoEnd end) const;
  /// Absent is fine.
  [[nodiscard]] Result<> remove(const std::string& recoveryId) const;

 private:
  FifoFolders(std::string path, sys::OwnedFolder folder)
      : path_(std::move(path)), folder_(std::move(folder)) {}
  std::string path_;
  sys::OwnedFolder folder_;
};

}  // namespace fallbackd::launcher
