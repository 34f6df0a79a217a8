#include "launcher/local_launcher.hpp"

#include "base/strings.hpp"
#include "launcher/cgroup_leaf.hpp"
#include "launcher/local_process.hpp"
#include "launcher/logs.hpp"
#include "launcher/plan.hpp"
#include "launcher/sandbox_gate.hpp"
#include "launcher/volumes.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <fcntl.h>
#include <set>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace asio::experimental::awaitable_operators;

namespace {

constexpr auto kLaunchLimit = 10s;  // beyond the health check's own: a mount or a cgroup that hangs
constexpr auto kVerifyLimit = 5s;

// Where programs look for them: Go, OpenSSL and most others.
constexpr const char* kCaCertificates = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kZoneInfo = "/usr/share/zoneinfo";

bool safeId(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

/// Removes what a launch that came to nothing left on the file system.
asio::awaitable<void> removeRemains(std::vector<std::string> leaves, std::string fifoDir) {
  if (!leaves.empty()) {
    const auto removed = co_await removeLeaf(std::move(leaves));
    static_cast<void>(removed);
  }
  if (!fifoDir.empty()) static_cast<void>(sys::removeTree(Stage::logs, fifoDir));
}

}  // namespace

/// The runtime's answer, asked for while the rest is prepared.
struct LocalLauncher::Question {
  explicit Question(const asio::any_io_executor& executor)
      : answered(executor, asio::steady_timer::time_point::max()) {}
  std::optional<Result<pid_t>> answer;
  asio::steady_timer answered;

  static asio::awaitable<void> ask(std::shared_ptr<Question> self, VerifyPause verify,
                                   std::string sandboxId) {
    auto answer = co_await verify(std::move(sandboxId));
    self->answer = std::move(answer);
    self->answered.cancel();
  }
};

/// One launch on its way. Whatever ends it early, its leaf and FIFOs are removed.
struct LocalLauncher::Launch {
  LaunchRequest request;
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
  std::string fifoDir;
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

  /// Who the process is on the host; fills the order's part of a user namespace.
  Result<uid_t> ownerOnHost() {
    order.sandboxPids = sandbox.joinPids;
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

  Launch(LaunchRequest given, TaskGroup& group) : request(std::move(given)), cleaners(group) {}
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch() {
    // Only a cancelled launch comes here with something left: its coroutine can wait for nothing any more.
    if (!kept && (!leaf.empty() || !fifoDir.empty())) cleaners.spawn(removeRemains(pathsOf(leaf), fifoDir));
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
  // Where it may not be, a leaf of a pod cannot be entered, and the launch says so.
  static_cast<void>(sys::joinHostCgroupNamespace());
  if (!options_.cgroups) {
    FB_TRY(options_.cgroups, sys::cgroupHierarchies());
  }
  FB_TRY(host_, HostNamespaces::read());
  FB_CHECK(confinement_.prepare());
  FB_CHECK(workers_->start());
  return spawner_.start();
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launch(LaunchRequest request) {
  auto process = co_await launchOnce(request);
  if (process || process.error().reason != Reason::already_exists) co_return process;
  // A leaf of that name was left by a daemon that died before it could write its journal. What ran in it was
  // ended with this try, so that no fallback ever runs twice.
  process = co_await launchOnce(std::move(request));
  co_return process;
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launchOnce(LaunchRequest request) {
  Launch launch(std::move(request), tasks_);
  launch.times.requested = Monotonic::now();
  auto prepared = co_await prepare(launch);
  if (prepared) {
    auto started = co_await finish(launch);
    if (started) co_return makeProcess(launch, std::move(*started));
    prepared = tl::unexpected<Error>(started.error());
  }
  launch.begun = BegunLaunch{};
  launch.entry = EntryFds{};  // our ends of the FIFOs: the pump ends when no writer is left
  if (launch.logs != nullptr) co_await launch.logs->drained(1s);
  co_await removeRemains(pathsOf(launch.leaf), launch.fifoDir);
  launch.kept = true;  // nothing more to remove
  co_return tl::unexpected<Error>(prepared.error());
}

asio::awaitable<Result<>> LocalLauncher::prepare(Launch& launch) {
  const auto& request = launch.request;
  if (!safeId(request.recoveryId) || request.executable == nullptr || !options_.cgroups) {
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

  // From here on the new process is at work, too.
  launch.logFile =
      logFileOf(request.sandbox.logDirectory, request.workload.match.container, request.restartCount);
  if (!launch.logFile.empty()) launch.openedLog = beginLog(*workers_, logTarget(launch));
  const std::string fifoDir = fifoDirOf(options_.runDir, request.recoveryId);
  FB_CO_CHECK(makeFifos(fifoDir, owner));
  launch.fifoDir = fifoDir;
  FB_CO_CHECK(makeLegacyLeaves(launch.leaf, request.workload.resources, launch.entry));
  const auto entry = co_await openEntry(launch);
  if (!entry) co_return tl::unexpected<Error>(entry.error());
  const auto same = co_await checkPause(launch);
  co_return same;
}

asio::awaitable<Result<>> LocalLauncher::begin(Launch& launch) {
  const auto& request = launch.request;
  FB_CO_TRY(launch.leaf, leafBelow(*options_.cgroups, request.sandbox.cgroupParent,
                                   leafName(request.workload.match.container)));
  FB_CO_CHECK(makeUnifiedLeaf(launch.leaf, request.workload.resources, launch.order, launch.fds));
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

asio::awaitable<Result<>> LocalLauncher::openEntry(Launch& launch) {
  FB_CO_TRY(launch.entry.out, openFifo(launch.fifoDir, "stdout", FifoEnd::process));
  FB_CO_TRY(launch.entry.err, openFifo(launch.fifoDir, "stderr", FifoEnd::process));
  if (launch.openedLog != nullptr) {
    const auto opened = co_await launch.openedLog->outcome();
    // A file that hangs is the pump's affair: it costs the lines, not the process.
    const bool hangs =
        !opened && (opened.error().reason == Reason::timeout || opened.error().reason == Reason::unavailable);
    if (!opened && !hangs) co_return tl::unexpected<Error>(opened.error());
  }
  FB_CO_TRY(auto out, openFifo(launch.fifoDir, "stdout", FifoEnd::daemon));
  FB_CO_TRY(auto err, openFifo(launch.fifoDir, "stderr", FifoEnd::daemon));
  FB_CO_TRY(launch.logs,
            LogPump::start(executor_, workers_, std::move(out), std::move(err), logTarget(launch)));
  co_return Result<>{};
}

LogTarget LocalLauncher::logTarget(const Launch& launch) const {
  return {launch.logFile, options_.logs, ownerOfLog(launch.logFile)};
}

/// One hand-over for all, and none where there are none. The worker is at it while the rest is prepared.
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

/// First what is the node's, so that a volume may cover it.
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
    asio::steady_timer limit(executor_);
    limit.expires_after(kVerifyLimit);
    boost::system::error_code ignored;
    const std::variant<std::monostate, std::monostate> first =
        co_await (question->answered.async_wait(asio::redirect_error(asio::use_awaitable, ignored)) ||
                  limit.async_wait(asio::use_awaitable));
    static_cast<void>(first);
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
  asio::steady_timer limit(executor_);
  limit.expires_after(launch.request.workload.healthCheck.timeout + kLaunchLimit);
  auto ordered = spawner_.finish(std::move(launch.begun), std::move(launch.entry));
  std::variant<Result<StartedProcess>, std::monostate> first =
      co_await (std::move(ordered) || limit.async_wait(asio::use_awaitable));
  if (first.index() == 1) {
    co_return fail(Stage::spawner, Reason::timeout, "the launch did not come to an end; aborted");
  }
  co_return std::move(std::get<0>(first));
}

std::unique_ptr<Process> LocalLauncher::makeProcess(Launch& launch, StartedProcess started) {
  ProcessRecord record;
  record.recoveryId = launch.request.recoveryId;
  record.pid = started.pid;
  // Zero where it ended at once: exited() tells how.
  record.startTime = sys::startTimeOf(Stage::run, started.pid).value_or(0);
  record.cgroupLeaves = pathsOf(launch.leaf);
  record.fifoDir = launch.fifoDir;
  record.logFile = launch.logFile;
  launch.times.prepared = started.prepared;
  launch.times.healthChecked = started.healthChecked;
  launch.times.started = started.started;
  launch.kept = true;
  return std::make_unique<LocalProcess>(executor_, std::move(record), launch.times,
                                        std::move(started.process), std::move(started.exit),
                                        std::move(launch.logs), std::move(launch.notes));
}

/// A journal names folders that are going to be removed and processes that are going to be killed: only such
/// as a launch of ours makes.
bool LocalLauncher::ours(const ProcessRecord& record) const {
  const auto leaf = [this](const std::string& path) {
    const auto name = path.substr(path.rfind('/') + 1);
    return name.starts_with(leafName("")) && path.find("/../") == std::string::npos &&
           std::any_of(options_.cgroups->begin(), options_.cgroups->end(),
                       [&](const auto& hierarchy) { return path.starts_with(hierarchy.mountPoint + "/"); });
  };
  return options_.cgroups && safeId(record.recoveryId) && record.pid > 1 &&
         record.fifoDir == fifoDirOf(options_.runDir, record.recoveryId) &&
         std::all_of(record.cgroupLeaves.begin(), record.cgroupLeaves.end(), leaf);
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::adopt(ProcessRecord record) {
  if (!ours(record)) {
    co_return fail(Stage::run, Reason::invalid,
                   "the record of recovery " + fallbackd::quoted(record.recoveryId) + " is not ours");
  }
  auto process = sys::openPidFd(Stage::run, record.pid);
  const auto startTime = sys::startTimeOf(Stage::run, record.pid);
  // Held first and looked at then: a process of the same number that came since has another start time.
  const bool same = process && startTime && *startTime == record.startTime && sys::isRunning(*process);
  if (!same) {
    co_await removeRemains(record.cgroupLeaves, record.fifoDir);
    co_return fail(Stage::run, Reason::not_found,
                   "process " + std::to_string(record.pid) + " does not run any more");
  }
  std::unique_ptr<LogPump> logs;
  auto out = openFifo(record.fifoDir, "stdout", FifoEnd::daemon);
  auto err = openFifo(record.fifoDir, "stderr", FifoEnd::daemon);
  if (out && err) {
    auto started = LogPump::start(executor_, workers_, std::move(*out), std::move(*err),
                                  {record.logFile, options_.logs, ownerOfLog(record.logFile)});
    if (started) logs = std::move(*started);
  }
  LaunchTimes times;
  times.requested = times.prepared = times.healthChecked = times.started = Monotonic::now();
  co_return std::make_unique<LocalProcess>(executor_, std::move(record), times, std::move(*process), nullptr,
                                           std::move(logs));
}

asio::awaitable<std::size_t> LocalLauncher::collectOrphans(std::vector<ProcessRecord> kept) {
  std::set<std::string> known;
  for (const auto& record : kept) {
    known.insert(record.cgroupLeaves.begin(), record.cgroupLeaves.end());
    known.insert(record.fifoDir);
  }
  std::size_t collected = 0;
  for (auto& leaf : leavesBelow(options_.cgroups.value_or(std::vector<sys::CgroupHierarchy>{}))) {
    if (known.contains(leaf)) continue;
    std::vector<std::string> paths{std::move(leaf)};
    const auto removed = co_await removeLeaf(std::move(paths));
    if (removed) ++collected;
  }
  for (const auto& folder : fifoDirsIn(options_.runDir)) {
    if (!known.contains(folder) && sys::removeTree(Stage::logs, folder)) ++collected;
  }
  co_return collected;
}

}  // namespace fallbackd::launcher
