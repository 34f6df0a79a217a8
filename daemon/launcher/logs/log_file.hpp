// SPDX-License-Identifier: Apache-2.0
// The log file of a fallback beside its pod's logs, rotated and pruned like kubelet's container logs.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// <logDirectory>/<container>-fallback/<restartCount>.log: where log shippers look.
std::string logFileOf(const std::string& logDirectory, const std::string& container, unsigned restartCount);

/// The restart count of the newest of these files; 0 if there is none.
unsigned latestRestartOf(const std::string& logDirectory, const std::string& container);

/// Blocks for the time of a write. A default-constructed one discards everything.
class LogFile {
 public:
  LogFile() = default;
  /// Opens it for appending; creates it and its folder if missing. Follows no symlink below the pod's log
  /// folder, which the pod may be able to write through a hostPath volume. Removes older files of the folder,
  /// including those of earlier restarts, until `limits.maxFiles` are left. Stage logs.
  static Result<LogFile> open(const std::string& path, config::LogLimits limits);
  /// The same for a file that was opened before: prunes nothing, and the pod's folder must exist. What
  /// kubelet removed together with its pod is not created again.
  static Result<LogFile> openAgain(const std::string& path, config::LogLimits limits);

  /// Writes whole lines. Before the file would exceed `maxBytes` it is renamed to NAME.YYYYMMDD-HHMMSS and a
  /// new one begins; if another program has renamed it, a new one begins, too. Lines that cannot be
  /// written (full disk) are lost as a whole.
  void write(std::string_view lines);

 private:
  static Result<LogFile> openIn(const sys::DirFd& pod, const std::string& folder, std::string name,
                                config::LogLimits limits);
  Result<> openFile();
  [[nodiscard]] bool isCurrent() const;
  [[nodiscard]] bool moveAside(const std::string& rotated) const;
  void rotate(Wall::time_point now);
  void prune() const;

  sys::DirFd folder_;
  std::string name_;
  config::LogLimits limits_;
  sys::UniqueFd file_;
  std::uint64_t size_ = 0;
};

}  // namespace fallbackd::launcher
