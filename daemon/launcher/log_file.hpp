// The log file of a fallback beside its pod's logs: rotated and pruned as kubelet does it with containers'.
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

/// The restart count of the newest of these files; 0 where there is none.
unsigned latestRestartOf(const std::string& logDirectory, const std::string& container);

/// Blocks for the time of a write. A default one takes everything and keeps nothing.
class LogFile {
 public:
  LogFile() = default;
  /// Opens it for appending and creates it and its folder where missing. Follows no symlink below the pod's
  /// log folder, which the pod may have a hand in by a hostPath volume. Older files of the folder are removed
  /// until `limits.maxFiles` are left, those of earlier restarts included. Stage logs.
  static Result<LogFile> open(const std::string& path, config::LogLimits limits);
  /// The same for one that was opened before: nothing is pruned, and the pod's folder must be there. What
  /// kubelet removed with its pod does not come back.
  static Result<LogFile> openAgain(const std::string& path, config::LogLimits limits);

  /// Whole lines. Before a file would grow above `maxBytes` it is renamed to NAME.YYYYMMDD-HHMMSS and a new
  /// one begun. What cannot be written (full disk) is lost, and never half of it stays.
  void write(std::string_view lines);

 private:
  static Result<LogFile> openIn(const sys::DirFd& pod, const std::string& folder, std::string name,
                                config::LogLimits limits);
  Result<> openFile();
  void rotate(Wall::time_point now);
  void prune() const;

  sys::DirFd folder_;
  std::string name_;
  config::LogLimits limits_;
  sys::UniqueFd file_;
  std::uint64_t size_ = 0;
};

}  // namespace fallbackd::launcher
