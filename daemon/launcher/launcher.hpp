// Starting a fallback inside a pod's sandbox, as the recovery sees it. Interfaces, so that the recovery's
// tests run on fakes; the real ones speak to the spawner process.
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

/// All that one launch needs. `executable` is shared because the cache may replace its copy meanwhile.
struct LaunchRequest {
  std::string recoveryId;  // [a-z0-9-], names the folder of its FIFOs
  std::shared_ptr<const sys::UniqueFd> executable;
  cri::SandboxStatus sandbox;
  config::Workload workload;
  std::string nodeName;
  /// Further environment of the process, before the workload's own: POD_NAME, POD_IP, ... are added here.
  unsigned restartCount = 0;  // numbers the log file, as kubelet does
};

/// When the steps of a launch were over (CLOCK_MONOTONIC).
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

/// What identifies a running fallback across a restart of the daemon. Goes into the journal.
struct ProcessRecord {
  std::string recoveryId;
  pid_t pid = 0;
  std::uint64_t startTime = 0;            // field 22 of /proc/PID/stat, clock ticks since boot
  std::vector<std::string> cgroupLeaves;  // absolute paths of the leaf in each hierarchy
  std::string fifoDir;
  std::string logFile;
  std::vector<std::string> namespaces = {};  // see sys::namespacesOf(); empty: not known
};

/// A process in a leaf of ours that no journal entry tells of: a daemon died between a launch and its
/// journal, or could not write it.
struct Unclaimed {
  ProcessRecord record;  // recoveryId and fifoDir empty where its output does not tell them; pid 0: see why
  std::string podUid;
  std::string container;
  std::optional<BinaryRef> binary;  // where its executable's name tells
  std::string why = {};             // it cannot be looked at now; empty where it can
};

/// A running fallback. Owned by its recovery; destroying it neither stops the process nor removes its leaf.
class Process {
 public:
  virtual ~Process() = default;
  [[nodiscard]] virtual const ProcessRecord& record() const = 0;
  [[nodiscard]] virtual const LaunchTimes& times() const = 0;
  /// What works otherwise than the pod's container would have it, for the log; mostly nothing.
  [[nodiscard]] virtual std::vector<std::string> notes() const { return {}; }
  /// The pod's network namespace, to ask there whether the process serves; null where it is not known.
  [[nodiscard]] virtual std::shared_ptr<const sys::NamespaceFd> network() const { return nullptr; }
  /// Waits for the end of the process (cancellable). May be called again after it ended.
  virtual boost::asio::awaitable<ExitStatus> exited() = 0;
  /// SIGTERM, after `grace` SIGKILL to everything in the leaf; waits for the end, removes leaf and FIFOs.
  /// Also right for a process that already ended.
  virtual boost::asio::awaitable<ExitStatus> stop(std::chrono::nanoseconds grace) = 0;
};

/// A leaf that is not ours to end.
struct ForeignLeaf {
  std::string leaf;
  std::string runDir;  // of the daemon that made it; empty: not known
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  /// Joins the sandbox, runs the health check, executes the binary. On failure nothing is left behind.
  /// Stages: spawner, sandbox, join, rootfs, cgroup, identity, health_check, exec.
  virtual boost::asio::awaitable<Result<std::unique_ptr<Process>>> launch(LaunchRequest request) = 0;
  /// Takes over a process of an earlier daemon. Reason not_found where it does not run any more (its leaf
  /// and FIFOs are removed then), invalid where the record is not one of ours. With any other reason nobody
  /// can tell at present: nothing was touched, and it may be tried again.
  virtual boost::asio::awaitable<Result<std::unique_ptr<Process>>> adopt(ProcessRecord record) = 0;
  /// Looks for leaves and FIFOs that no recovery of `kept` has. What is empty, and launches that were not
  /// over, are removed; fallbacks that run are reported and left alone, and so are those of another daemon,
  /// or of nobody that is known. Once, before the first launch.
  struct Remains {
    std::size_t removed = 0;
    std::vector<Unclaimed> running;
    std::vector<ForeignLeaf> foreign;
  };
  virtual boost::asio::awaitable<Remains> collectOrphans(std::vector<ProcessRecord> kept) = 0;
  /// Whether that process is in the sandbox's network and IPC namespaces: a pod's next sandbox has others.
  virtual Result<bool> isIn(const ProcessRecord& record, const cri::SandboxStatus& sandbox) = 0;
  /// What a leaf holds that was reported, looked at again.
  virtual Unclaimed lookAgain(const Unclaimed& one) = 0;
  /// How often the container was started, as the logs in its pod's folder tell; 0 where they do not.
  virtual boost::asio::awaitable<unsigned> latestRestart(std::string logDirectory, std::string container) = 0;
  /// Ends what collectOrphans reported, and removes its leaf and FIFOs.
  virtual boost::asio::awaitable<void> discard(ProcessRecord record) = 0;
};

}  // namespace fallbackd::launcher
