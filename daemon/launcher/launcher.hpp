// SPDX-License-Identifier: Apache-2.0
// Starts a fallback in a pod's sandbox, as the recovery sees it. Interfaces, so that the recovery's tests run
// with fakes; the real ones talk to the spawner process.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "cri/types.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// Everything that one launch needs. `executable` is shared because the cache may replace its copy meanwhile.
struct LaunchRequest {
  std::string recoveryId;  // [0-9a-z-], the name of its FIFO folder
  std::shared_ptr<const sys::UniqueFd> executable;
  cri::SandboxStatus sandbox;
  config::Workload workload;
  std::string nodeName;
  /// Additional environment of the process, before the workload's own: POD_NAME, POD_IP, ... are added here.
  unsigned restartCount = 0;  // number of the log file, as for kubelet
  /// For probe(): the number of the place where it runs. Few numbers mean that few probes can be stuck.
  unsigned probePlace = 0;
};

/// When the steps of a launch were finished (CLOCK_MONOTONIC).
struct LaunchTimes {
  Stamp requested;
  Stamp prepared;       // namespaces joined, root file system built
  Stamp healthChecked;  // --health-check ended with 0
  Stamp started;        // execveat happened
};

struct ExitStatus {
  enum class Kind : std::uint8_t { exited, signaled, unknown };  // unknown: an adopted process, not our child
  Kind kind = Kind::unknown;
  int value = 0;  // exit code or signal number
  bool oomKilled = false;

  /// "exit code 3", "signal 9 (oom)", "ended"
  [[nodiscard]] std::string toString() const;
};

/// Identifies a running fallback across a restart of the daemon. Stored in the journal.
struct ProcessRecord {
  std::string recoveryId;
  pid_t pid = 0;
  std::uint64_t startTime = 0;            // field 22 of /proc/PID/stat, clock ticks since boot; 0: unknown
  std::vector<std::string> cgroupLeaves;  // absolute paths of the leaf in each hierarchy
  std::string fifoDir;
  std::string logFile;
  std::vector<std::string> namespaces = {};  // see sys::namespacesOf(); empty: unknown
};

/// A process in one of our leaves that no journal entry mentions: a daemon died between a launch and its
/// journal entry, or could not write it.
struct Unclaimed {
  ProcessRecord record;  // recoveryId and fifoDir are empty if its output shows neither; pid 0: see why
  std::string podUid;
  std::string container;
  std::optional<BinaryRef> binary;  // if its executable's name reveals it
  std::string why = {};             // why it cannot be examined now; empty if it can
};

/// A running fallback, owned by its recovery. Destroying it neither stops the process nor removes its leaf.
class Process {
 public:
  virtual ~Process() = default;
  [[nodiscard]] virtual const ProcessRecord& record() const = 0;
  [[nodiscard]] virtual const LaunchTimes& times() const = 0;
  /// What differs from the pod's container, for the log; usually empty.
  [[nodiscard]] virtual std::vector<std::string> notes() const { return {}; }
  /// The pod's network namespace, in which the process is probed; null if unknown.
  [[nodiscard]] virtual std::shared_ptr<const sys::NamespaceFd> network() const { return nullptr; }
  /// Waits for the process to end (cancellable). May be called again afterwards.
  virtual boost::asio::awaitable<ExitStatus> exited() = 0;
  /// The same, but waits some seconds longer for a status that is late. It may be unknown even then.
  virtual boost::asio::awaitable<ExitStatus> exitedAndTold() { return exited(); }
  /// Sends SIGTERM and, after `grace`, SIGKILL to everything in the leaf; waits for the end; removes leaf and
  /// FIFOs. Also works for a process that has already ended.
  virtual boost::asio::awaitable<ExitStatus> stop(std::chrono::nanoseconds grace) = 0;
};

/// A leaf that is not ours to end.
struct ForeignLeaf {
  std::string leaf;
  std::string runDir;  // of the daemon that created it; empty: unknown
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  /// Joins the sandbox, runs the health check, executes the binary. Leaves nothing behind on failure. Stages:
  /// spawner, sandbox, join, rootfs, cgroup, identity, health_check, exec.
  virtual boost::asio::awaitable<Result<std::unique_ptr<Process>>> launch(LaunchRequest request) = 0;
  /// Runs a command of the binary once, beside the fallback that `like` started: as the health check before a
  /// start, with the same confinement and limits, but with its own root and leaf, and without a log.
  /// Nothing of it is left once it has ended, has reached `timeout`, or was cancelled. At most one at a
  /// time for a container. Stage readiness, reason not_ready: it did not end with 0 in time. Any other error:
  /// it could not be run, which says nothing about the fallback.
  virtual boost::asio::awaitable<Result<>> probe(LaunchRequest like, std::vector<std::string> argv,
                                                 std::chrono::nanoseconds timeout) = 0;
  /// Takes over a process of an earlier daemon. Reason not_found if it no longer runs (its leaf and FIFOs are
  /// removed), invalid if the record is not one of ours. Any other reason means that this is unknown at
  /// present: nothing was touched, and the caller may try again.
  virtual boost::asio::awaitable<Result<std::unique_ptr<Process>>> adopt(ProcessRecord record) = 0;
  /// Looks for leaves and FIFOs that no recovery in `kept` owns. Removes empty leaves and unfinished
  /// launches; reports running fallbacks and leaves them alone; the same for leaves of another daemon or of
  /// unknown origin. Once, before the first launch.
  struct Remains {
    std::size_t removed = 0;
    std::vector<Unclaimed> running;
    std::vector<ForeignLeaf> foreign;
  };
  virtual boost::asio::awaitable<Remains> collectOrphans(std::vector<ProcessRecord> kept) = 0;
  /// Whether that process is in the sandbox's network and IPC namespaces: a pod's next sandbox has others.
  virtual Result<bool> isIn(const ProcessRecord& record, const cri::SandboxStatus& sandbox) = 0;
  /// Examines a reported leaf again.
  virtual Unclaimed lookAgain(const Unclaimed& one) = 0;
  /// How often the container was started, according to the logs in its pod's folder; 0 if they do not show
  /// it.
  virtual boost::asio::awaitable<unsigned> latestRestart(std::string logDirectory, std::string container) = 0;
  /// Kills what collectOrphans reported, and removes its leaf and FIFOs.
  virtual boost::asio::awaitable<void> discard(ProcessRecord record) = 0;
};

}  // namespace fallbackd::launcher
