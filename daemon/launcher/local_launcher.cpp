#include "launcher/local_launcher.hpp"

#include "base/strings.hpp"
#include "launcher/cgroup_leaf.hpp"
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

/// Removes what a launch that came to nothing left on the file system. `recoveryId` is empty where it had no
/// FIFOs yet.
asio::awaitable<void> removeRemains(Grounds grounds, std::vector<std::string> leaves,
                                    std::string recoveryId) {
  if (!leaves.empty()) {
    const auto removed = co_await removeLeaf(grounds.cgroups, std::move(leaves));
    static_cast<void>(removed);
  }
  if (!recoveryId.empty()) static_cast<void>(grounds.fifos->remove(recoveryId));
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
  std::unique_ptr<LogPump> logs;
  bool kept = false;

  [[nodiscard]] VolumeSource volumes(const config::LauncherSettings& settings) const {
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

  asio::awaitable<void> removeRemains() const {
    return launcher::removeRemains(grounds, pathsOf(leaf), fifosMade ? request.recoveryId : "");
  }

  Launch(LaunchRequest given, Grounds where, TaskGroup& group)
      : request(std::move(given)), grounds(std::move(where)), cleaners(group) {}
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch() {
    // Only a cancelled launch comes here with something left: its coroutine can wait for nothing any more.
    if (!kept && (!leaf.empty() || fifosMade)) cleaners.spawn(removeRemains());
  }
};

LocalLauncher::LocalLauncher(asio::any_io_executor executor, Options options, VerifyPause verify)
    : executor_(executor),
      options_(std::move(options)),
      verify_(std::move(verify)),
      confinement_(options_.seccompProfiles, options_.kernel),
      spawner_(executor, options_.spawnerProgram.empty() ? defaultSpawnerProgram() : options_.spawnerProgram),
      tasks_(executor) {}

LocalLauncher::~LocalLauncher() = default;

Result<> LocalLauncher::start() {
  // Where it may not be, a leaf of a pod cannot be entered, and the launch says so.
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
  Launch launch(std::move(request), grounds_, tasks_);
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
  co_await launch.removeRemains();
  launch.kept = true;  // nothing more to remove
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
  FB_CO_TRY(launch.order, planOrder(request, launch.volumes(options_), launch.notes));
  FB_CO_CHECK(confinement_.apply(request, launch.order, launch.notes));
  FB_CO_TRY(const auto owner, launch.ownerOnHost());
  FB_CO_CHECK(openMounts(launch));
  const auto begun = co_await begin(launch);
  if (!begun) co_return tl::unexpected<Error>(begun.error());

  // From here on the new process is at work, too.
  FB_CO_CHECK(makeFifos(launch, owner));
  FB_CO_CHECK(makeLegacyLeaves(*grounds_.cgroups, launch.leaf, request.workload.resources, launch.entry));
  FB_CO_CHECK(openEntry(launch));
  const auto same = co_await checkPause(launch);
  co_return same;
}

asio::awaitable<Result<>> LocalLauncher::begin(Launch& launch) {
  const auto& request = launch.request;
  FB_CO_TRY(launch.leaf, leafBelow(*options_.cgroups, request.sandbox.cgroupParent,
                                   leafName(request.workload.match.container)));
  FB_CO_CHECK(
      makeUnifiedLeaf(*grounds_.cgroups, launch.leaf, request.workload.resources, launch.order, launch.fds));
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
    // Somebody removed the run folder under us: another takes its place.
    FB_TRY(auto fifos, FifoFolders::open(options_.runDir));
    grounds_.fifos = std::make_shared<const FifoFolders>(std::move(fifos));
    launch.grounds = grounds_;
    made = grounds_.fifos->make(id, owner);
  }
  launch.fifosMade = made.has_value();
  return made;
}

Result<> LocalLauncher::openEntry(Launch& launch) {
  const auto& request = launch.request;
  const auto& fifos = *grounds_.fifos;
  FB_TRY(launch.entry.out, fifos.openFifo(request.recoveryId, "stdout", FifoEnd::process));
  FB_TRY(launch.entry.err, fifos.openFifo(request.recoveryId, "stderr", FifoEnd::process));
  launch.logFile =
      logFileOf(request.sandbox.logDirectory, request.workload.match.container, request.restartCount);
  LogFile file;
  if (!launch.logFile.empty()) {
    FB_TRY(file, LogFile::open(launch.logFile, options_.logs));
  }
  FB_TRY(auto out, fifos.openFifo(request.recoveryId, "stdout", FifoEnd::daemon));
  FB_TRY(auto err, fifos.openFifo(request.recoveryId, "stderr", FifoEnd::daemon));
  FB_TRY(launch.logs, LogPump::start(executor_, std::move(out), std::move(err), std::move(file)));
  return {};
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
  FB_TRY(auto volumes, prepareVolumes(launch.volumes(options_), workload.volumes));
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
  record.fifoDir = grounds_.fifos->pathOf(record.recoveryId);
  record.logFile = launch.logFile;
  launch.times.prepared = started.prepared;
  launch.times.healthChecked = started.healthChecked;
  launch.times.started = started.started;
  launch.kept = true;
  return std::make_unique<LocalProcess>(executor_, grounds_, std::move(record), launch.times,
                                        std::move(started.process), std::move(started.exit),
                                        std::move(launch.logs), std::move(launch.notes));
}

/// A journal names folders that are going to be removed and processes that are going to be killed: only such
/// as a launch of ours makes. What removes and kills looks again, and cannot leave its folder.
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
    co_await removeRemains(grounds_, record.cgroupLeaves, record.recoveryId);
    co_return fail(Stage::run, Reason::not_found,
                   "process " + std::to_string(record.pid) + " does not run any more");
  }
  LogFile file;
  if (!record.logFile.empty()) {
    // Without its file the output vanishes, as with a full disk; the process matters more.
    auto opened = LogFile::open(record.logFile, options_.logs);
    if (opened) file = std::move(*opened);
  }
  std::unique_ptr<LogPump> logs;
  auto out = grounds_.fifos->openFifo(record.recoveryId, "stdout", FifoEnd::daemon);
  auto err = grounds_.fifos->openFifo(record.recoveryId, "stderr", FifoEnd::daemon);
  if (out && err) {
    auto started = LogPump::start(executor_, std::move(*out), std::move(*err), std::move(file));
    if (started) logs = std::move(*started);
  }
  // Those of an older release do not say whose they are.
  for (const auto& path : record.cgroupLeaves) {
    if (const auto leaf = grounds_.cgroups->leaf(path)) static_cast<void>(leaf->own());
  }
  LaunchTimes times;
  times.requested = times.prepared = times.healthChecked = times.started = Monotonic::now();
  co_return std::make_unique<LocalProcess>(executor_, grounds_, std::move(record), times, std::move(*process),
                                           nullptr, std::move(logs));
}

asio::awaitable<Orphans> LocalLauncher::collectOrphans(std::vector<ProcessRecord> kept) {
  std::set<std::string> known;
  for (const auto& record : kept) {
    known.insert(record.cgroupLeaves.begin(), record.cgroupLeaves.end());
    known.insert(record.recoveryId);
  }
  Orphans orphans;
  if (!grounds_.cgroups) co_return orphans;
  for (const auto& path : grounds_.cgroups->leaves()) {
    const auto leaf = grounds_.cgroups->leaf(path);
    if (known.contains(path) || !leaf) continue;
    const auto owner = leaf->owner();
    if (owner == LeafFolder::Owner::tree) continue;
    if (owner == LeafFolder::Owner::ours) {
      std::vector<std::string> paths{path};
      const auto removed = co_await removeLeaf(grounds_.cgroups, std::move(paths));
      if (removed) ++orphans.collected;
    } else if (owner == LeafFolder::Owner::unknown && leaf->remove()) {
      ++orphans.collected;  // nobody was in it
    } else {
      orphans.foreign.push_back({path, leaf->ownersRunDir()});
    }
  }
  for (const auto& id : grounds_.fifos->ids()) {
    if (!known.contains(id) && grounds_.fifos->remove(id)) ++orphans.collected;
  }
  co_return orphans;
}

}  // namespace fallbackd::launcher
