// SPDX-License-Identifier: Apache-2.0
#include "launcher/local_launcher.hpp"

#include "base/async/loop_clock.hpp"
#include "base/strings.hpp"
#include "launcher/cgroup/cgroup_leaf.hpp"
#include "launcher/launch.hpp"
#include "launcher/local_process.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/pod_files.hpp"
#include "launcher/spawner_process.hpp"
#include "launcher/unclaimed.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kListLimit = 1s;

/// What runs in a leaf and must be left alone; empty if the leaf is empty or never held a fallback.
std::optional<Unclaimed> unclaimedIn(const FoundLeaf& leaf, const FifoFolders& fifos) {
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

/// Whether an error from the kernel means that the process is gone, and not only that nobody can tell.
bool saysGone(const Error& error) {
  return error.reason == Reason::not_found || error.errnum == ESRCH || error.errnum == ENOENT;
}

}  // namespace

LauncherParts::LauncherParts(asio::any_io_executor owner, LauncherOptions given, VerifyPause ask)
    : executor(owner),
      options(std::move(given)),
      verify(std::move(ask)),
      confinement(options.seccompProfiles, options.kernel),
      spawner(owner, options.spawnerProgram.empty() ? defaultSpawnerProgram() : options.spawnerProgram),
      pool(std::make_shared<workers::Pool>(owner, options.workerProgram)),
      tasks(owner) {}

LocalLauncher::LocalLauncher(asio::any_io_executor executor, Options options, VerifyPause verify)
    : parts_(std::move(executor), std::move(options), std::move(verify)) {}

LocalLauncher::~LocalLauncher() = default;

Result<> LocalLauncher::start() {
  // If this is not permitted, entering a pod's leaf fails later, and the launch says so.
  static_cast<void>(sys::joinHostCgroupNamespace());
  if (!parts_.options.cgroups) {
    FB_TRY(parts_.options.cgroups, sys::cgroupHierarchies());
  }
  FB_TRY(auto cgroups, CgroupTrees::open(*parts_.options.cgroups, parts_.options.runDir));
  FB_TRY(auto fifos, FifoFolders::open(parts_.options.runDir));
  parts_.grounds = {std::make_shared<const CgroupTrees>(std::move(cgroups)),
                    std::make_shared<const FifoFolders>(std::move(fifos))};
  FB_TRY(parts_.host, HostNamespaces::read());
  FB_CHECK(parts_.confinement.prepare());
  FB_CHECK(parts_.pool->start());
  return parts_.spawner.start();
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launchOnce(LaunchRequest request) {
  Launch launch(parts_, std::move(request));
  auto process = co_await launch.run();
  co_return process;
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launch(LaunchRequest request) {
  auto process = co_await launchOnce(request);
  if (process || process.error().reason != Reason::already_exists) co_return process;
  // A daemon that died before writing its journal left a leaf with that name. This attempt killed what ran in
  // it, so that no fallback ever runs twice.
  process = co_await launchOnce(std::move(request));
  co_return process;
}

/// A journal names folders to be removed and processes to be killed: accept only those that one of our
/// launches creates. The code that removes and kills checks again, and cannot leave its folder.
bool LocalLauncher::ours(const ProcessRecord& record) const {
  const auto leaf = [this](const std::string& path) {
    const auto name = path.substr(path.rfind('/') + 1);
    return name.starts_with(leafName("")) && path.find("/../") == std::string::npos &&
           std::any_of(parts_.options.cgroups->begin(), parts_.options.cgroups->end(),
                       [&](const auto& hierarchy) { return path.starts_with(hierarchy.mountPoint + "/"); });
  };
  return parts_.grounds.fifos && safeId(record.recoveryId) && record.pid > 1 &&
         record.fifoDir == parts_.grounds.fifos->pathOf(record.recoveryId) &&
         std::all_of(record.cgroupLeaves.begin(), record.cgroupLeaves.end(), leaf);
}

/// Whether the process with that pid is the one in the record, by everything that the kernel knows about it.
/// An error if the kernel cannot tell.
Result<bool> LocalLauncher::isProcessOf(const ProcessRecord& record) const {
  FB_TRY(const auto startTime, sys::startTimeOf(Stage::run, record.pid));
  if (startTime != record.startTime) return false;
  FB_TRY(const bool held, parts_.grounds.cgroups->hold(record.pid, record.cgroupLeaves));
  if (!held) return false;
  if (record.namespaces.empty()) return true;
  FB_TRY(const auto namespaces, sys::namespacesOf(Stage::run, record.pid));
  return namespaces == record.namespaces;
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::adopt(ProcessRecord record) {
  if (record.fifoDir.empty())
    record.fifoDir = parts_.grounds.fifos->pathOf(record.recoveryId);  // it has none
  if (!ours(record)) {
    co_return fail(Stage::run, Reason::invalid,
                   "the record of recovery " + fallbackd::quoted(record.recoveryId) + " is not ours");
  }
  auto process = sys::openPidFd(Stage::run, record.pid);
  auto network = sys::openNamespace(Stage::run, record.pid, "net");
  if (!process && !saysGone(process.error())) co_return tl::unexpected<Error>(process.error());
  // Opened first and examined then: a later process with the same pid is a different one.
  const auto same = process ? isProcessOf(record) : Result<bool>(false);
  if (!same && !saysGone(same.error())) co_return tl::unexpected<Error>(same.error());
  if (!same || !*same || !sys::isRunning(*process)) {
    co_await removeRemains(parts_.grounds, record.cgroupLeaves, record.recoveryId);
    co_return fail(Stage::run, Reason::not_found,
                   "process " + std::to_string(record.pid) + " is no longer running");
  }
  std::unique_ptr<LogPump> logs;
  auto out = parts_.grounds.fifos->openFifo(record.recoveryId, "stdout", FifoEnd::daemon);
  auto err = parts_.grounds.fifos->openFifo(record.recoveryId, "stderr", FifoEnd::daemon);
  if (out && err) {
    auto started = LogPump::start(parts_.executor, parts_.pool, std::move(*out), std::move(*err),
                                  {record.logFile, parts_.options.logs, ownerOfLog(record.logFile)});
    if (started) logs = std::move(*started);
  }
  // Leaves of an older release do not record their owner.
  for (const auto& path : record.cgroupLeaves) {
    if (const auto leaf = parts_.grounds.cgroups->leaf(path)) static_cast<void>(leaf->own());
  }
  LaunchTimes times;
  times.requested = times.prepared = times.healthChecked = times.started =
      LoopClock::of(parts_.executor).now();
  co_return std::make_unique<LocalProcess>(
      parts_.executor, parts_.grounds, std::move(record), times, std::move(*process), nullptr,
      std::move(logs), std::vector<std::string>(), network ? std::move(*network) : sys::NamespaceFd());
}

asio::awaitable<Launcher::Remains> LocalLauncher::collectOrphans(std::vector<ProcessRecord> kept) {
  std::set<std::string> known;
  for (const auto& record : kept) {
    known.insert(record.cgroupLeaves.begin(), record.cgroupLeaves.end());
    known.insert(record.recoveryId);
  }
  Remains remains;
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

/// Leaves without a recovery. Another daemon's are left alone; those without a recorded owner are removed
/// only if they are empty.
std::vector<std::string> LocalLauncher::leavesOfOurs(const std::set<std::string>& known,
                                                     Remains& remains) const {
  std::vector<std::string> ours;
  for (const auto& path : parts_.grounds.cgroups->leaves()) {
    const auto leaf = parts_.grounds.cgroups->leaf(path);
    if (known.contains(path) || !leaf) continue;
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

Result<bool> LocalLauncher::isIn(const ProcessRecord& record, const cri::SandboxStatus& sandbox) {
  for (const char* kind : {"net", "ipc"}) {
    FB_TRY(const auto its, sys::namespaceOf(Stage::run, record.pid, kind));
    FB_TRY(const auto theirs, sys::namespaceOf(Stage::sandbox, sandbox.pausePid, kind));
    if (!(its == theirs)) return false;
  }
  return true;
}

Unclaimed LocalLauncher::lookAgain(const Unclaimed& one) {
  auto found = unclaimedIn({one.podUid, one.container, one.record.cgroupLeaves}, *parts_.grounds.fifos);
  if (found) return std::move(*found);
  auto gone = one;
  gone.record.pid = 0;
  gone.why.clear();
  return gone;
}

/// By a worker, as all that is the pod's: the folder may hang.
asio::awaitable<unsigned> LocalLauncher::latestRestart(std::string logDirectory, std::string container) {
  workers::Task task;
  task.stage = Stage::logs;
  task.owner = ownerOfLog(logFileOf(logDirectory, container, 0));
  task.what = "look for logs in " + logDirectory;
  task.limit = kListLimit;
  ask(task, ListLogsQuestion{std::move(logDirectory), std::move(container)});
  const auto outcome = co_await parts_.pool->run(std::move(task));
  const auto latest = outcome ? readLatestRestart(*outcome) : tl::unexpected<Error>(outcome.error());
  co_return latest.value_or(0);
}

asio::awaitable<void> LocalLauncher::discard(ProcessRecord record) {
  co_await removeRemains(parts_.grounds, std::move(record.cgroupLeaves), std::move(record.recoveryId));
}

}  // namespace fallbackd::launcher
