// SPDX-License-Identifier: Apache-2.0
// The messages between the daemon, the spawner and its processes. Used by both programs; independent of Asio
// and the configuration. Decoding validates everything, in both directions.
//
//   daemon <-> spawner   orders and reports
//   daemon  -> spare     one LaunchOrder, then one byte with the descriptors of the entry
#pragma once

#include "base/error.hpp"
#include "spawner/descriptors.hpp"
#include "sys/fd.hpp"
#include "sys/process.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <variant>
#include <vector>

namespace fallbackd::launcher {

/// A small file of the new root, written before the root becomes read-only.
struct RootFile {
  std::string path;  // absolute
  mode_t mode = 0644;
  std::string content;
};

/// Where a detached mount is attached. The mount itself travels as a descriptor.
struct MountTarget {
  std::string path;  // absolute, normal, not "/"
  bool directory = true;
};

/// Written to a file of the process's own folder in /proc before its user changes: a label for the node's
/// security module.
struct ProcessAttribute {
  std::string file;  // below /proc/thread-self, relative: "attr/apparmor/exec"
  std::string value;
};

struct ProcessLimit {
  std::uint32_t resource = 0;  // RLIMIT_...
  std::uint64_t soft = 0;      // RLIM_INFINITY: none
  std::uint64_t hard = 0;
};

/// The extended attribute that holds a file's SELinux label.
inline constexpr const char* kSeLinuxLabel = "security.selinux";

/// Which processes the program sees.
enum class PidNamespace : std::uint8_t {
  own,      // it is pid 1 of a new namespace
  sandbox,  // the sandbox's, which the pod's containers share; entered after execveat
  host,     // the spawner's own
};

/// One launch, ready to be executed without further decisions.
struct LaunchOrder {
  std::vector<std::string> argv;        // argv[0] included; empty: only the health check runs, without output
  std::vector<std::string> healthArgv;  // empty: no health check
  std::vector<std::string> env;         // NAME=VALUE
  std::string workingDir = "/";
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::int64_t healthTimeoutNs = 0;
  std::uint64_t tmpBytes = 0;  // size of /tmp
  int oomScoreAdj = 0;
  std::uint64_t capabilities = 0;  // one bit per capability; in all sets
  std::string seccomp;             // array of struct sock_filter; empty: no filter
  bool filterLetsWait = false;     // the filter allows starting and watching a health check
  std::vector<ProcessAttribute> attributes;
  std::string fileLabel;             // SELinux's for the files of the new root; empty: none
  std::vector<ProcessLimit> limits;  // override those that every fallback gets
  PidNamespace pids = PidNamespace::own;
  sys::NamespaceId sandboxPids;  // of the sandbox's PID namespace; for PidNamespace::sandbox
  bool sandboxUsers = false;     // in its user namespace; ids below are inside ids, except the root's owner
  uid_t rootUid = 0;             // owner of the new root's files, on the host
  gid_t rootGid = 0;
  std::vector<RootFile> files;
  std::vector<MountTarget> mounts;
  bool unifiedCgroup = false;  // the leaf's folder and its cgroup.procs on v2 are among the descriptors
};

/// The descriptors of a launch, in the order in which they are sent.
struct LaunchFds {
  sys::UniqueFd executable;
  sys::PidFd sandbox;          // the pause process
  sys::UniqueFd cgroupFolder;  // v2 only, with its cgroup.procs
  sys::UniqueFd cgroupProcs;
  std::vector<sys::UniqueFd> mounts;  // detached, one for each MountTarget

  [[nodiscard]] std::vector<int> numbers(const LaunchOrder& order) const;
};

/// Sent directly to the new process while it builds its root, because the daemon needs as long to prepare it:
/// one byte, with these descriptors in this order.
struct EntryFds {
  sys::UniqueFd out;  // FIFOs, opened for reading and writing
  sys::UniqueFd err;
  std::vector<sys::UniqueFd> tasks;  // the "tasks" file of each cgroup that it enters on v1

  [[nodiscard]] std::vector<int> numbers() const;
};
inline constexpr char kEntry = 'E';

/// A launch needs a spare and none is available.
struct SpareOrder {};
/// Kill it, whatever it is doing. Unknown ids are ignored: the launch may have just ended.
struct AbortOrder {
  std::uint64_t id = 0;
};
using Order = std::variant<SpareOrder, AbortOrder>;

/// The spawner's first message: it is set up.
struct ReadyReport {};
/// A spare is ready. Sent with the socket that accepts its order; the launch will have this id.
struct SpareReport {
  std::uint64_t id = 0;
};
/// execveat happened. Sent with the pidfd.
struct StartedReport {
  std::uint64_t id = 0;
  pid_t pid = 0;
  std::int64_t preparedNs = 0;  // CLOCK_MONOTONIC
  std::int64_t healthCheckedNs = 0;
  std::int64_t startedNs = 0;
};
/// Nothing runs; all processes of the launch are gone.
struct FailedReport {
  std::uint64_t id = 0;  // 0: the spawner's own set-up, or a spare that could not be made
  Stage stage = Stage::spawner;
  Reason reason = Reason::system;
  int errnum = 0;
  std::string text;
};
/// The health check of an order without argv succeeded; all processes of the launch are gone.
struct PassedReport {
  std::uint64_t id = 0;
};
/// A started process ended.
struct ExitedReport {
  std::uint64_t id = 0;
  bool signaled = false;
  int value = 0;  // exit code or signal number
};
using Report =
    std::variant<ReadyReport, SpareReport, StartedReport, FailedReport, PassedReport, ExitedReport>;

/// Reason too_large if it would not fit into one message.
Result<std::string> encode(const LaunchOrder& order);
Result<std::string> encode(const Order& order);
Result<std::string> encode(const Report& report);

/// Reason protocol for anything but a complete, valid message of this version.
Result<LaunchOrder> decodeLaunch(std::string_view bytes);
Result<Order> decodeOrder(std::string_view bytes);
Result<Report> decodeReport(std::string_view bytes);

/// Sorts the descriptors received with an order. Reason protocol if their number is wrong.
Result<LaunchFds> sortLaunchFds(const LaunchOrder& order, std::vector<sys::UniqueFd> fds);

}  // namespace fallbackd::launcher
