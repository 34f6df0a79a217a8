// SPDX-License-Identifier: Apache-2.0
// Processes held by pidfd and start time, never by a bare number. Nothing here blocks.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace fallbackd::sys {

/// Kernel 5.3. Reason not_found if there is no such process.
Result<PidFd> openPidFd(Stage stage, pid_t pid);

/// The pid of the process, or 0 once it has been reaped. Reason invalid if this is not a pidfd.
Result<pid_t> pidOf(Stage stage, const PidFd& process);

/// Whether the process has ended, reaped or not. An error means that the kernel cannot tell at present, for
/// example without memory: that is not an end.
Result<bool> hasEnded(Stage stage, const PidFd& process);

struct OpenFileLimits {
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};
/// How many files the process may have open, from /proc/PID/limits: prlimit(2) would need CAP_SYS_RESOURCE.
/// Reason invalid if the file does not say.
Result<OpenFileLimits> openFileLimitsOf(Stage stage, pid_t pid);

/// Field 22 of /proc/PID/stat: clock ticks since boot. Together with the pid it identifies a process.
Result<std::uint64_t> startTimeOf(Stage stage, pid_t pid);

/// Whether the process executes no more code of its program: true some time before hasEnded() turns true,
/// and as early as the v1 hierarchies show it in their root cgroup. Field 9 of /proc/PID/stat.
Result<bool> isExiting(Stage stage, pid_t pid);

/// A process that has already ended is not an error.
Result<> sendSignal(Stage stage, const PidFd& process, int number);

/// The same with a value, as sigqueue(3).
Result<> queueSignal(Stage stage, const PidFd& process, int number, int value);

/// A copy of the process's descriptor with that number. Kernel 5.6; needs SYS_PTRACE. Reason not_found if it
/// has none.
Result<UniqueFd> descriptorOf(Stage stage, const PidFd& process, int number);

/// A new pipe; neither end waits.
Result<Pipe> makePipe(Stage stage);

/// The first 15 bytes of its program's name: /proc/PID/comm.
Result<std::string> commOf(Stage stage, pid_t pid);

/// How a process that was not our child ended, in the form of wait(2). Kernel 6.15 (PIDFD_GET_INFO with
/// PIDFD_INFO_EXIT). Empty for a process that still runs or was not reaped yet; an error if the kernel will
/// not report it later, either, like older ones.
Result<std::optional<int>> waitStatusOf(Stage stage, const PidFd& process);

/// The namespace of a process; two processes share it if both numbers are equal.
struct NamespaceId {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const NamespaceId&, const NamespaceId&) = default;
};
/// `kind` is a name in /proc/PID/ns: "net", "ipc", "uts", "user", ...
Result<NamespaceId> namespaceOf(Stage stage, pid_t pid, const char* kind);

/// The namespaces that distinguish processes of different pods, as in /proc/PID/ns: "net:[4026531840]". A
/// program can leave some of them by itself, but not its PID namespace.
Result<std::vector<std::string>> namespacesOf(Stage stage, pid_t pid);

/// To join or to compare; keeps the namespace alive after the process has ended.
Result<NamespaceFd> openNamespace(Stage stage, pid_t pid, const char* kind);

/// The ids of a process's user namespace, as seen by the host.
class IdMap {
 public:
  /// The text of /proc/PID/uid_map: lines of "inside outside count".
  static IdMap parse(std::string_view text);
  /// Empty for an id that the namespace does not map.
  [[nodiscard]] std::optional<std::uint32_t> outside(std::uint32_t inside) const;

 private:
  struct Range {
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    std::uint32_t count = 0;
  };
  std::vector<Range> ranges_;
};
/// `file`: "uid_map" or "gid_map".
Result<IdMap> idMapOf(Stage stage, pid_t pid, const char* file);

}  // namespace fallbackd::sys
