// SPDX-License-Identifier: Apache-2.0
#include "launcher/local_launcher.hpp"

#include "base/async/event.hpp"
#include "base/async/within.hpp"
#include "base/strings.hpp"
#include "launcher/cgroup/cgroup_leaf.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/plan.hpp"
#include "launcher/sandbox_gate.hpp"
#include "launcher/spawner_process.hpp"
#include "launcher/unclaimed.hpp"
#include "launcher/volumes.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <utility>

#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kLaunchLimit = 10s;  // beyond the health check's own: a mount or a cgroup that hangs
constexpr auto kVerifyLimit = 5s;
constexpr auto kListLimit = 1s;

// Where Go, OpenSSL and most other programs look for them.
constexpr const char* kCaCertificates = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kZoneInfo = "/usr/share/zoneinfo";

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

/// The runtime's answer, requested while the rest is prepared.
struct LocalLauncher::Question {
  explicit Question(const asio::any_io_executor& executor) : answered(executor) {}
  std::optional<Result<pid_t>> answer;
  Event answered;

  static asio::awaitable<void> ask(std::shared_ptr<Question> self, VerifyPause verify,
                                   std::string sandboxId) {
    auto answer = co_await verify(std::move(sandboxId));
    self->answer = std::move(answer);
    self->answered.set();
  }
};

/// One launch in progress. If it ends early, its leaf and FIFOs are removed.
struct LocalLauncher::Launch {
  LaunchRequest request;
  Grounds grounds;
  TaskGroup& cleaners;
  LaunchTimes times;
  OpenSandbox sandbox;
  std::vector<std::string> notes;
  std::shared_ptr<Question> question;
  LaunchOrder order;
  LaunchFds fds;
  CgroupLeaf leaf;
  BegunLaunch begun;
  EntryFds entry;
  bool fifosMade = false;
  std::string logFile;
  std::unique_ptr<workers::Begun> asked;  // for the volumes, if it has any
  PodVolumes volumes;
  std::unique_ptr<workers::Begun> openedLog;
  std::unique_ptr<LogPump> logs;
  bool kept = false;

  [[nodiscard]] VolumeSource volumeSource(const config::LauncherSettings& settings) const {
    return {settings.kubeletPods, request.sandbox.sandbox.podUid, settings.allowedHostPaths,
            sandbox.users ? &sandbox.users->users : nullptr};
  }

  /// The process's user on the host; fills in the order's user namespace part.
  Result<uid_t> ownerOnHost() {
    order.pids = sandbox.pids;
    order.sandboxPids = sandbox.pidNamespace;
    const auto& user = request.workload.user;
    if (!sandbox.users) return user.uid;
    const auto uid = sandbox.users->uids.outside(user.uid);
    const auto gid = sandbox.users->gids.outside(user.gid);
    const auto rootUid = sandbox.users->uids.outside(0);
    const auto rootGid = sandbox.users->gids.outside(0);
    if (!uid || !gid || !rootUid || !rootGid) {
      return fail(Stage::identity, Reason::invalid,
                  "the pod's user namespace has no user " + std::to_string(user.uid) + ":" +
                      std::to_string(user.gid) + ", or no root");
    }
    order.sandboxUsers = true;
    order.rootUid = *rootUid;
    order.rootGid = *rootGid;
    return *uid;
  }

  asio::awaitable<void> removeRemains() const {
    return launcher::removeRemains(grounds, pathsOf(leaf), fifosMade ? request.recoveryId : "");
  }

  Launch(LaunchRequest given, Grounds where, TaskGroup& group)
      : request(std::move(given)), grounds(std::move(where)), cleaners(group) {}
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch() {
    // Only a cancelled launch has something left here: its coroutine can no longer wait.
    if (!kept && (!leaf.empty() || fifosMade)) cleaners.spawn(removeRemains());
  }
};

LocalLauncher::LocalLauncher(asio::any_io_executor executor, Options options, VerifyPause verify)
    : executor_(executor),
      options_(std::move(options)),
      verify_(std::move(verify)),
      confinement_(options_.seccompProfiles, options_.kernel),
      spawner_(executor, options_.spawnerProgram.empty() ? defaultSpawnerProgram() : options_.spawnerProgram),
      workers_(std::make_shared<workers::Pool>(executor, options_.workerProgram)),
      tasks_(executor) {}

LocalLauncher::~LocalLauncher() = default;

Result<> LocalLauncher::start() {
  // If this is not permitted, entering a pod's leaf fails later, and the launch says so.
  static_cast<void>(sys::joinHostCgroupNamespace());
  if (!options_.cgroups) {
    FB_TRY(options_.cgroups, sys::cgroupHierarchies());
  }
  FB_TRY(auto cgroups, CgroupTrees::open(*options_.cgroups, options_.runDir));
  FB_TRY(auto fifos, FifoFolders::open(options_.runDir));
  grounds_ = {std::make_shared<const CgroupTrees>(std::move(cgroups)),
              std::make_shared<const FifoFolders>(std::move(fifos))};
  FB_TRY(host_, HostNamespaces::read());
  FB_CHECK(confinement_.prepare());
  FB_CHECK(workers_->start());
  return spawner_.start();
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launch(LaunchRequest request) {
  auto process = co_await launchOnce(request);
  if (process || process.error().reason != Reason::already_exists) co_return process;
  // A daemon that died before writing its journal left a leaf with that name. This attempt killed what ran in
  // it, so that no fallback ever runs twice.
  process = co_await launchOnce(std::move(request));
  co_return process;
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launchOnce(LaunchRequest request) {
  Launch launch(std::move(request), grounds_, tasks_);
  launch.times.requested = LoopClock::of(executor_).now();
  auto prepared = co_await prepare(launch);
  if (prepared) {
    auto started = co_await finish(launch);
    if (started && isOfLaunch(*started, launch)) co_return makeProcess(launch, std::move(*started));
    prepared = started ? fail(Stage::spawner, Reason::protocol, "the started process is not in its leaf")
                       : tl::unexpected<Error>(started.error());
  }
  launch.begun = BegunLaunch{};
  launch.entry = EntryFds{};  // our ends of the FIFOs: the pump ends when no writer is left
  if (launch.logs != nullptr) co_await launch.logs->drained(1s);
  co_await launch.removeRemains();
  launch.kept = true;  // nothing left to remove
  co_return tl::unexpected<Error>(prepared.error());
}

asio::awaitable<Result<>> LocalLauncher::prepare(Launch& launch) {
  const auto& request = launch.request;
  if (!safeId(request.recoveryId) || request.executable == nullptr || !grounds_.cgroups) {
    co_return fail(Stage::spawner, Reason::invalid, "launch " + fallbackd::quoted(request.recoveryId));
  }
  FB_CO_TRY(launch.sandbox, openSandbox(request.sandbox, options_, host_));
  if (verify_ && !launch.sandbox.named) {
    launch.question = std::make_shared<Question>(executor_);
    tasks_.spawn(Question::ask(launch.question, verify_, request.sandbox.sandbox.id));
  }
  beginVolumes(launch);
  if (!request.workload.envFiles.empty()) {
    const auto taken = co_await takeVolumes(launch);
    if (!taken) co_return tl::unexpected<Error>(taken.error());
  }
  FB_CO_TRY(launch.order, planOrder(request, launch.volumes.variables, launch.notes));
  FB_CO_CHECK(confinement_.apply(request, launch.order, launch.notes));
  FB_CO_TRY(const auto owner, launch.ownerOnHost());
  const auto begun = co_await begin(launch);
  if (!begun) co_return tl::unexpected<Error>(begun.error());

  // From here on the new process works in parallel.
  launch.logFile =
      logFileOf(request.sandbox.logDirectory, request.workload.match.container, request.restartCount);
  if (!launch.logFile.empty()) launch.openedLog = beginLog(*workers_, logTarget(launch));
  FB_CO_CHECK(makeFifos(launch, owner));
  FB_CO_CHECK(makeLegacyLeaves(*grounds_.cgroups, launch.leaf, request.workload.resources, launch.entry));
  const auto entry = co_await openEntry(launch);
  if (!entry) co_return tl::unexpected<Error>(entry.error());
  const auto same = co_await checkPause(launch);
  co_return same;
}

asio::awaitable<Result<>> LocalLauncher::begin(Launch& launch) {
  const auto& request = launch.request;
  FB_CO_TRY(launch.leaf, leafBelow(*options_.cgroups, request.sandbox.cgroupParent,
                                   leafName(request.workload.match.container)));
  FB_CO_CHECK(
      makeUnifiedLeaf(*grounds_.cgroups, launch.leaf, request.workload.resources, launch.order, launch.fds));
  const auto taken = co_await takeVolumes(launch);
  if (!taken) co_return tl::unexpected<Error>(taken.error());
  FB_CO_CHECK(openMounts(launch));
  launch.fds.executable = sys::UniqueFd(::fcntl(request.executable->get(), F_DUPFD_CLOEXEC, 0));
  launch.fds.sandbox = sys::PidFd(::fcntl(launch.sandbox.pause.get(), F_DUPFD_CLOEXEC, 0));
  if (!launch.fds.executable || !launch.fds.sandbox) {
    co_return failErrno(Stage::exec, "hold the executable and the sandbox");
  }
  auto begun = co_await spawner_.begin(std::move(launch.order), std::move(launch.fds));
  if (!begun) co_return tl::unexpected<Error>(begun.error());
  launch.begun = std::move(*begun);
  co_return Result<>{};
}

Result<> LocalLauncher::makeFifos(Launch& launch, uid_t owner) {
  const auto& id = launch.request.recoveryId;
  auto made = grounds_.fifos->make(id, owner);
  if (!made && made.error().errnum == ENOENT) {
    // Somebody removed the run folder: create it again.
    FB_TRY(auto fifos, FifoFolders::open(options_.runDir));
    grounds_.fifos = std::make_shared<const FifoFolders>(std::move(fifos));
    launch.grounds = grounds_;
    made = grounds_.fifos->make(id, owner);
  }
  launch.fifosMade = made.has_value();
  return made;
}

asio::awaitable<Result<>> LocalLauncher::openEntry(Launch& launch) {
  const auto& id = launch.request.recoveryId;
  const auto& fifos = *grounds_.fifos;
  FB_CO_TRY(launch.entry.out, fifos.openFifo(id, "stdout", FifoEnd::process));
  FB_CO_TRY(launch.entry.err, fifos.openFifo(id, "stderr", FifoEnd::process));
  if (launch.openedLog != nullptr) {
    const auto opened = co_await launch.openedLog->outcome();
    // A file that hangs is the pump's concern: it costs the log lines, not the process.
    const bool hangs =
        !opened && (opened.error().reason == Reason::timeout || opened.error().reason == Reason::unavailable);
    if (!opened && !hangs) co_return tl::unexpected<Error>(opened.error());
  }
  FB_CO_TRY(auto out, fifos.openFifo(id, "stdout", FifoEnd::daemon));
  FB_CO_TRY(auto err, fifos.openFifo(id, "stderr", FifoEnd::daemon));
  FB_CO_TRY(launch.logs,
            LogPump::start(executor_, workers_, std::move(out), std::move(err), logTarget(launch)));
  co_return Result<>{};
}

LogTarget LocalLauncher::logTarget(const Launch& launch) const {
  return {launch.logFile, options_.logs, ownerOfLog(launch.logFile)};
}

/// One task for all volumes, and none if there are none. The worker runs while the rest is prepared.
void LocalLauncher::beginVolumes(Launch& launch) {
  const auto& request = launch.request;
  const auto& workload = request.workload;
  if (workload.volumes.empty() && workload.envFiles.empty()) return;
  const auto& pod = request.sandbox.sandbox;
  workers::Task task;
  task.urgency = workers::Urgency::launch;
  task.stage = Stage::rootfs;
  task.owner = {pod.podNamespace, pod.podUid};
  task.what = "the volumes of pod " + pod.podNamespace + "/" + pod.podName;
  task.limit = options_.volumesLimit;
  ask(task, VolumesQuestion{launch.volumeSource(options_), workload.volumes, workload.envFiles});
  launch.asked = workers_->begin(std::move(task));
}

asio::awaitable<Result<>> LocalLauncher::takeVolumes(Launch& launch) {
  const auto asked = std::move(launch.asked);
  if (asked == nullptr) co_return Result<>{};
  auto outcome = co_await asked->outcome();
  if (!outcome) co_return tl::unexpected<Error>(outcome.error());
  FB_CO_TRY(launch.volumes, readVolumes(std::move(*outcome)));
  co_return Result<>{};
}

/// The node's own files first, so that a volume may cover them.
Result<> LocalLauncher::openMounts(Launch& launch) {
  const auto& request = launch.request;
  const auto& workload = request.workload;
  PreparedMounts mounts;
  if (workload.caCertificates) {
    FB_TRY(auto file, prepareNodeFile(options_.caCertificates));
    mounts.add({kCaCertificates, false}, std::move(file));
  }
  if (workload.timeZoneData) {
    FB_TRY(auto folder, prepareNodeFile(options_.zoneInfo));
    mounts.add({kZoneInfo, true}, std::move(folder));
  }
  auto volumes = std::move(launch.volumes.mounts);
  const bool ownShm = std::any_of(volumes.targets.begin(), volumes.targets.end(),
                                  [](const MountTarget& target) { return target.path == "/dev/shm"; });
  mounts.append(std::move(volumes));
  if (!ownShm && !request.sandbox.shmPath.empty()) {
    FB_TRY(auto shm, prepareShm(request.sandbox.shmPath));
    mounts.add({"/dev/shm", true}, std::move(shm));
  }
  launch.order.mounts = std::move(mounts.targets);
  launch.fds.mounts = std::move(mounts.trees);
  return {};
}

asio::awaitable<Result<>> LocalLauncher::checkPause(const Launch& launch) {
  const auto& status = launch.request.sandbox;
  const auto& question = launch.question;
  if (question != nullptr && !question->answer) {
    co_await question->answered.waitFor(kVerifyLimit);
  }
  if (question != nullptr) {
    if (!question->answer) {
      co_return fail(Stage::containerd, Reason::timeout, "ask again for sandbox " + status.sandbox.id);
    }
    const auto& answer = *question->answer;
    if (!answer && answer.error().reason == Reason::unavailable) {
      co_return tl::unexpected<Error>(answer.error());
    }
    if (!answer || *answer != status.pausePid) {
      const std::string now = answer ? "pause process " + std::to_string(*answer) : answer.error().message();
      co_return fail(Stage::sandbox, Reason::sandbox_changed,
                     "sandbox " + status.sandbox.id + ": was pause process " +
                         std::to_string(status.pausePid) + ", now " + now);
    }
  }
  if (!sys::isRunning(launch.sandbox.pause)) {
    co_return fail(Stage::sandbox, Reason::sandbox_gone,
                   "the pause process of sandbox " + status.sandbox.id + " ended");
  }
  co_return Result<>{};
}

asio::awaitable<Result<StartedProcess>> LocalLauncher::finish(Launch& launch) {
  auto ordered = spawner_.finish(std::move(launch.begun), std::move(launch.entry));
  auto started =
      co_await within(launch.request.workload.healthCheck.timeout + kLaunchLimit, std::move(ordered));
  if (!started) {
    co_return fail(Stage::spawner, Reason::timeout, "the launch did not finish in time and was aborted");
  }
  co_return std::move(*started);
}

/// A process that has ended, or is about to, is not examined further: its owner learns how it ended. It
/// leaves its v1 cgroups before it has ended.
bool LocalLauncher::isOfLaunch(const StartedProcess& started, const Launch& launch) const {
  const auto held = grounds_.cgroups->hold(started.pid, pathsOf(launch.leaf));
  if (held && *held) return true;
  const auto exiting = sys::isExiting(Stage::run, started.pid);
  return !sys::isRunning(started.process) || (exiting && *exiting);
}

std::unique_ptr<Process> LocalLauncher::makeProcess(Launch& launch, StartedProcess started) {
  ProcessRecord record;
  record.recoveryId = launch.request.recoveryId;
  record.pid = started.pid;
  // Zero if it ended at once: exited() tells how.
  record.startTime = sys::startTimeOf(Stage::run, started.pid).value_or(0);
  record.cgroupLeaves = pathsOf(launch.leaf);
  record.namespaces = sys::namespacesOf(Stage::run, started.pid).value_or(std::vector<std::string>{});
  record.fifoDir = grounds_.fifos->pathOf(record.recoveryId);
  record.logFile = launch.logFile;
  launch.times.prepared = started.prepared;
  launch.times.healthChecked = started.healthChecked;
  launch.times.started = started.started;
  launch.kept = true;
  return std::make_unique<LocalProcess>(executor_, grounds_, std::move(record), launch.times,
                                        std::move(started.process), std::move(started.exit),
                                        std::move(launch.logs), std::move(launch.notes),
                                        std::move(launch.sandbox.network));
}

/// A journal names folders to be removed and processes to be killed: accept only those that one of our
/// launches creates. The code that removes and kills checks again, and cannot leave its folder.
bool LocalLauncher::ours(const ProcessRecord& record) const {
  const auto leaf = [this](const std::string& path) {
    const auto name = path.substr(path.rfind('/') + 1);
    return name.starts_with(leafName("")) && path.find("/../") == std::string::npos &&
           std::any_of(options_.cgroups->begin(), options_.cgroups->end(),
                       [&](const auto& hierarchy) { return path.starts_with(hierarchy.mountPoint + "/"); });
  };
  return grounds_.fifos && safeId(record.recoveryId) && record.pid > 1 &&
         record.fifoDir == grounds_.fifos->pathOf(record.recoveryId) &&
         std::all_of(record.cgroupLeaves.begin(), record.cgroupLeaves.end(), leaf);
}

/// Whether the process with that pid is the one in the record, by everything that the kernel knows about it.
/// An error if the kernel cannot tell.
Result<bool> LocalLauncher::isProcessOf(const ProcessRecord& record) const {
  FB_TRY(const auto startTime, sys::startTimeOf(Stage::run, record.pid));
  if (startTime != record.startTime) return false;
  FB_TRY(const bool held, grounds_.cgroups->hold(record.pid, record.cgroupLeaves));
  if (!held) return false;
  if (record.namespaces.empty()) return true;
  FB_TRY(const auto namespaces, sys::namespacesOf(Stage::run, record.pid));
  return namespaces == record.namespaces;
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::adopt(ProcessRecord record) {
  if (record.fifoDir.empty()) record.fifoDir = grounds_.fifos->pathOf(record.recoveryId);  // it has none
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
    co_await removeRemains(grounds_, record.cgroupLeaves, record.recoveryId);
    co_return fail(Stage::run, Reason::not_found,
                   "process " + std::to_string(record.pid) + " is no longer running");
  }
  std::unique_ptr<LogPump> logs;
  auto out = grounds_.fifos->openFifo(record.recoveryId, "stdout", FifoEnd::daemon);
  auto err = grounds_.fifos->openFifo(record.recoveryId, "stderr", FifoEnd::daemon);
  if (out && err) {
    auto started = LogPump::start(executor_, workers_, std::move(*out), std::move(*err),
                                  {record.logFile, options_.logs, ownerOfLog(record.logFile)});
    if (started) logs = std::move(*started);
  }
  // Leaves of an older release do not record their owner.
  for (const auto& path : record.cgroupLeaves) {
    if (const auto leaf = grounds_.cgroups->leaf(path)) static_cast<void>(leaf->own());
  }
  LaunchTimes times;
  times.requested = times.prepared = times.healthChecked = times.started = LoopClock::of(executor_).now();
  co_return std::make_unique<LocalProcess>(executor_, grounds_, std::move(record), times, std::move(*process),
                                           nullptr, std::move(logs), std::vector<std::string>(),
                                           network ? std::move(*network) : sys::NamespaceFd());
}

asio::awaitable<Launcher::Remains> LocalLauncher::collectOrphans(std::vector<ProcessRecord> kept) {
  std::set<std::string> known;
  for (const auto& record : kept) {
    known.insert(record.cgroupLeaves.begin(), record.cgroupLeaves.end());
    known.insert(record.recoveryId);
  }
  Remains remains;
  if (!grounds_.cgroups) co_return remains;
  for (auto& leaf : groupLeaves(leavesOfOurs(known, remains))) {
    if (auto found = unclaimedIn(leaf, *grounds_.fifos)) {
      known.insert(found->record.recoveryId);
      remains.running.push_back(std::move(*found));
      continue;
    }
    const auto count = leaf.paths.size();
    const auto removed = co_await removeLeaf(grounds_.cgroups, std::move(leaf.paths));
    if (removed) remains.removed += count;
  }
  // FIFOs may belong to a process whose output is unknown.
  const bool allTold = std::all_of(remains.running.begin(), remains.running.end(),
                                   [](const auto& one) { return !one.record.fifoDir.empty(); });
  for (const auto& id : grounds_.fifos->ids()) {
    if (allTold && !known.contains(id) && grounds_.fifos->remove(id)) ++remains.removed;
  }
  co_return remains;
}

/// Leaves without a recovery. Another daemon's are left alone; those without a recorded owner are removed
/// only if they are empty.
std::vector<std::string> LocalLauncher::leavesOfOurs(const std::set<std::string>& known,
                                                     Remains& remains) const {
  std::vector<std::string> ours;
  for (const auto& path : grounds_.cgroups->leaves()) {
    const auto leaf = grounds_.cgroups->leaf(path);
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
  auto found = unclaimedIn({one.podUid, one.container, one.record.cgroupLeaves}, *grounds_.fifos);
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
  const auto outcome = co_await workers_->run(std::move(task));
  const auto latest = outcome ? readLatestRestart(*outcome) : tl::unexpected<Error>(outcome.error());
  co_return latest.value_or(0);
}

asio::awaitable<void> LocalLauncher::discard(ProcessRecord record) {
  co_await removeRemains(grounds_, std::move(record.cgroupLeaves), std::move(record.recoveryId));
}

}  // namespace fallbackd::launcher
