// SPDX-License-Identifier: Apache-2.0
#include "launcher/adoption.hpp"

#include "base/async/loop_clock.hpp"
#include "base/strings.hpp"
#include "launcher/cgroup/cgroup_leaf.hpp"
#include "launcher/local_process.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/pod_files.hpp"
#include "launcher/unclaimed.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

/// What runs in a leaf and must be left alone; empty if the leaf is empty, never held a fallback, or belongs
/// to a probe.
std::optional<Unclaimed> unclaimedIn(const FoundLeaf& leaf, const FifoFolders& fifos) {
  if (isProbeLeafName(leafName(leaf.container))) return std::nullopt;
  std::vector<std::string> folders;
  for (const auto& id : fifos.ids()) folders.push_back(fifos.pathOf(id));
  const auto content = contentOf(leaf, folders);
  using Kind = LeafContent::Kind;
  if (content.kind == Kind::empty || content.kind == Kind::unfinished) return std::nullopt;
  Unclaimed one;
  one.podUid = leaf.podUid;
  one.container = leaf.container;
  one.binary = content.binary;
  one.record.cgroupLeaves = leaf.paths;
  if (content.kind == Kind::unknown) {
    one.why = "the processes in " + join(leaf.paths, ", ") + " cannot be examined";
    return one;
  }
  one.record.pid = content.pid;
  one.record.startTime = content.startTime;
  one.record.fifoDir = content.fifoDir;
  one.record.recoveryId = content.fifoDir.substr(content.fifoDir.rfind('/') + 1);
  return one;
}

constexpr auto kFifosLimit = 1s;

/// Whether an output that cannot be read now may be readable later.
bool mayBeReadLater(const Error& error) {
  return isTemporary(error) || error.reason == Reason::timeout || error.reason == Reason::unavailable;
}

/// Whether the kernel's error means that the process is gone, rather than that its state is unknown.
bool saysGone(const Error& error) {
  return error.reason == Reason::not_found || error.errnum == ESRCH || error.errnum == ENOENT;
}

}  // namespace

/// Accepts only what one of our launches creates. The code that removes and kills checks again, and cannot
/// leave its folder.
bool Adoption::ours(const ProcessRecord& record) const {
  const auto leaf = [this](const std::string& path) {
    const auto name = path.substr(path.rfind('/') + 1);
    return name.starts_with(leafName("")) && !isProbeLeafName(name) &&
           path.find("/../") == std::string::npos &&
           std::any_of(parts_.options.cgroups->begin(), parts_.options.cgroups->end(),
                       [&](const auto& hierarchy) { return path.starts_with(hierarchy.mountPoint + "/"); });
  };
  return parts_.grounds.fifos && safeId(record.recoveryId) && record.pid > 1 &&
         record.fifoDir == parts_.grounds.fifos->pathOf(record.recoveryId) &&
         std::all_of(record.cgroupLeaves.begin(), record.cgroupLeaves.end(), leaf);
}

/// Whether the process with that pid is the one in the record, by everything that the kernel knows about it.
/// An error if the kernel cannot tell.
Result<bool> Adoption::isProcessOf(const ProcessRecord& record) const {
  FB_TRY(const auto startTime, sys::startTimeOf(Stage::run, record.pid));
  // Without a start time the leaf decides: only our own processes are put there.
  if (record.startTime != 0 && startTime != record.startTime) return false;
  FB_TRY(const bool held, parts_.grounds.cgroups->hold(record.pid, record.cgroupLeaves));
  if (!held) return false;
  if (record.namespaces.empty()) return true;
  FB_TRY(const auto namespaces, sys::namespacesOf(Stage::run, record.pid));
  return namespaces == record.namespaces;
}

asio::awaitable<Result<std::unique_ptr<Process>>> Adoption::adopt(ProcessRecord record) const {
  const auto& grounds = parts_.grounds;
  if (record.fifoDir.empty()) record.fifoDir = grounds.fifos->pathOf(record.recoveryId);  // it has none
  if (!ours(record)) {
    co_return fail(Stage::run, Reason::invalid,
                   "the record of recovery " + fallbackd::quoted(record.recoveryId) + " is not ours");
  }
  auto process = sys::openPidFd(Stage::run, record.pid);
  auto network = sys::openNamespace(Stage::run, record.pid, "net");
  if (!process && !saysGone(process.error())) co_return tl::unexpected<Error>(process.error());
  // Opened first, then examined: a later process with the same pid is a different one.
  const auto same = process ? isProcessOf(record) : Result<bool>(false);
  if (!same && !saysGone(same.error())) co_return tl::unexpected<Error>(same.error());
  const auto ended = process ? sys::hasEnded(Stage::run, *process) : Result<bool>(true);
  if (!ended) co_return tl::unexpected<Error>(ended.error());
  if (!same || !*same || *ended) {
    co_await removeRemains(grounds, record.cgroupLeaves, record.recoveryId);
    co_return fail(Stage::run, Reason::not_found,
                   "process " + std::to_string(record.pid) + " is no longer running");
  }
  if (record.startTime == 0) record.startTime = sys::startTimeOf(Stage::run, record.pid).value_or(0);
  auto logs = co_await followOutput(record);
  // A fallback without a reader for its output stops in a write once its FIFO is full.
  if (!logs && mayBeReadLater(logs.error())) co_return tl::unexpected<Error>(logs.error());
  // Leaves of an older release do not record their owner.
  for (const auto& path : record.cgroupLeaves) {
    if (const auto leaf = grounds.cgroups->leaf(path)) static_cast<void>(leaf->own());
  }
  LaunchTimes times;
  times.requested = times.prepared = times.healthChecked = times.started =
      LoopClock::of(parts_.executor).now();
  co_return std::make_unique<LocalProcess>(parts_.executor, grounds, std::move(record), times,
                                           std::move(*process), nullptr, logs ? std::move(*logs) : nullptr,
                                           std::vector<std::string>(),
                                           network ? std::move(*network) : sys::NamespaceFd());
}

/// A worker opens the FIFOs: a program that has one open can make this hang.
asio::awaitable<Result<std::unique_ptr<LogPump>>> Adoption::followOutput(ProcessRecord record) const {
  const LogTarget target{record.logFile, parts_.options.logs, ownerOfLog(record.logFile)};
  FB_CO_TRY(auto folder, parts_.grounds.fifos->openFolder(record.recoveryId));
  workers::Task task;
  // Before copies of output, which may all wait for a disk that hangs.
  task.urgency = workers::Urgency::launch;
  task.stage = Stage::logs;
  task.owner = target.owner;
  task.what = "open the FIFOs of recovery " + record.recoveryId;
  task.limit = kFifosLimit;
  ask(task, OpenFifosQuestion{}, std::move(folder));
  auto outcome = co_await parts_.pool->run(std::move(task));
  if (!outcome) co_return tl::unexpected<Error>(outcome.error());
  FB_CO_TRY(auto fifos, readOpenedFifos(std::move(*outcome)));
  co_return LogPump::start(parts_.executor, parts_.pool, std::move(fifos.out), std::move(fifos.err), target);
}

asio::awaitable<Launcher::Remains> Adoption::collectOrphans(std::vector<ProcessRecord> kept) const {
  std::set<std::string> known;
  for (const auto& record : kept) {
    known.insert(record.cgroupLeaves.begin(), record.cgroupLeaves.end());
    known.insert(record.recoveryId);
  }
  Launcher::Remains remains;
  if (!parts_.grounds.cgroups) co_return remains;
  for (auto& leaf : groupLeaves(leavesOfOurs(known, remains))) {
    if (auto found = unclaimedIn(leaf, *parts_.grounds.fifos)) {
      known.insert(found->record.recoveryId);
      remains.running.push_back(std::move(*found));
      continue;
    }
    const auto count = leaf.paths.size();
    const auto removed = co_await removeLeaf(parts_.grounds.cgroups, std::move(leaf.paths));
    if (removed) remains.removed += count;
  }
  // FIFOs may belong to a process whose output is unknown.
  const bool allTold = std::all_of(remains.running.begin(), remains.running.end(),
                                   [](const auto& one) { return !one.record.fifoDir.empty(); });
  for (const auto& id : parts_.grounds.fifos->ids()) {
    if (allTold && !known.contains(id) && parts_.grounds.fifos->remove(id)) ++remains.removed;
  }
  co_return remains;
}

/// Leaves without a recovery. Those of other daemons are left alone; those without a recorded owner are
/// removed only if they are empty.
std::vector<std::string> Adoption::leavesOfOurs(const std::set<std::string>& known,
                                                Launcher::Remains& remains) const {
  std::vector<std::string> ours;
  for (const auto& path : parts_.grounds.cgroups->leaves()) {
    const auto leaf = parts_.grounds.cgroups->leaf(path);
    if (known.contains(path) || parts_.probeLeaves.contains(path) || !leaf) continue;
    const auto owner = leaf->owner();
    if (owner == LeafFolder::Owner::tree) continue;
    if (owner == LeafFolder::Owner::ours) {
      ours.push_back(path);
    } else if (owner == LeafFolder::Owner::unknown && leaf->remove()) {
      ++remains.removed;
    } else {
      remains.foreign.push_back({path, leaf->ownersRunDir()});
    }
  }
  return ours;
}

Unclaimed Adoption::lookAgain(const Unclaimed& one) const {
  auto found = unclaimedIn({one.podUid, one.container, one.record.cgroupLeaves}, *parts_.grounds.fifos);
  if (found) return std::move(*found);
  auto gone = one;
  gone.record.pid = 0;
  gone.why.clear();
  return gone;
}

asio::awaitable<void> Adoption::discard(ProcessRecord record) const {
  co_await removeRemains(parts_.grounds, std::move(record.cgroupLeaves), std::move(record.recoveryId));
}

}  // namespace fallbackd::launcher
