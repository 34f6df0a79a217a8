// SPDX-License-Identifier: Apache-2.0
#include "launcher/launch.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/async/within.hpp"
#include "base/strings.hpp"
#include "launcher/local_process.hpp"
#include "launcher/plan.hpp"
#include "launcher/volumes.hpp"
#include "sys/log_links.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <utility>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kLaunchLimit = 10s;  // beyond the health check's own: a mount or a cgroup that hangs

// Where Go, OpenSSL and most other programs look for them.
constexpr const char* kCaCertificates = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kZoneInfo = "/usr/share/zoneinfo";

constexpr auto kCheckLimit = 2s;  // a machine without a free descriptor
constexpr Backoff::Limits kCheckPauses{1ms, 50ms};

/// Something else is where a log file, or a folder above it, should be.
bool leadsAway(const Error& log) {
  constexpr std::array kNoFile{ENXIO, EISDIR, ENOTDIR};
  return log.reason == Reason::unsafe_path || log.reason == Reason::unsafe_file_type ||
         std::find(kNoFile.begin(), kNoFile.end(), log.errnum) != kNoFile.end();
}

/// The file was not refused; it was just not opened in time.
bool isLate(const Error& log) {
  return log.reason == Reason::timeout || log.reason == Reason::unavailable;
}

}  // namespace

Launch::Launch(LauncherParts& parts, LaunchRequest request)
    : parts_(parts), request_(std::move(request)), grounds_(parts.grounds) {}

Launch::~Launch() {
  for (const auto& path : probeLeaves_) parts_.probeLeaves.erase(path);
  // Only a cancelled launch has something left here: its coroutine can no longer wait.
  if (!kept_ && (!leaf_.empty() || fifosMade_)) parts_.tasks.spawn(removeRemains());
}

asio::awaitable<void> Launch::removeRemains() const {
  return launcher::removeRemains(grounds_, pathsOf(leaf_), fifosMade_ ? request_.recoveryId : "");
}

asio::awaitable<Result<std::unique_ptr<Process>>> Launch::run() {
  times_.requested = LoopClock::of(parts_.executor).now();
  auto prepared = co_await prepare();
  if (prepared) {
    auto started = co_await finish();
    if (started) {
      prepared = co_await checkStarted(*started);
    } else {
      prepared = tl::unexpected<Error>(started.error());
    }
    if (prepared) co_return makeProcess(std::move(*started));
    // At once, and without a new descriptor: the machine may have none left.
    if (started) static_cast<void>(sys::sendSignal(Stage::run, started->process, SIGKILL));
  }
  co_await dropRemains();
  co_return tl::unexpected<Error>(prepared.error());
}

asio::awaitable<Result<>> Launch::probe(std::vector<std::string> argv) {
  if (argv.empty()) co_return fail(Stage::spawner, Reason::invalid, "a probe without a command");
  probeArgv_ = std::move(argv);
  auto outcome = co_await prepare();
  if (outcome) {
    const auto ended = co_await finish();
    if (!ended) {
      outcome = tl::unexpected<Error>(ended.error());
    } else if (ended->pid != 0) {
      outcome = fail(Stage::spawner, Reason::protocol, "the binary was started beside its fallback");
    }
  }
  co_await dropRemains();
  co_return outcome;
}

asio::awaitable<void> Launch::dropRemains() {
  begun_ = BegunLaunch{};
  entry_ = EntryFds{};  // our ends of the FIFOs: the pump ends when no writer is left
  if (logs_ != nullptr) co_await logs_->drained(1s);
  co_await removeRemains();
  kept_ = true;  // nothing left to remove
}

asio::awaitable<Result<>> Launch::prepare() {
  const auto& request = request_;
  if (!safeId(request.recoveryId) || request.executable == nullptr || !parts_.grounds.cgroups) {
    co_return fail(Stage::spawner, Reason::invalid, "launch " + fallbackd::quoted(request.recoveryId));
  }
  FB_CO_TRY(sandbox_, openSandbox(request.sandbox, parts_.options, parts_.host));
  if (!sandbox_.named) pauseCheck_.ask(parts_, request.sandbox.sandbox.id);
  beginVolumes();
  if (!request.workload.envFiles.empty()) {
    const auto taken = co_await takeVolumes();
    if (!taken) co_return tl::unexpected<Error>(taken.error());
  }
  FB_CO_TRY(order_, planOrder(request, volumes_.variables, notes_));
  if (isProbe()) {
    order_.argv.clear();
    order_.healthArgv = probeArgv_;
  }
  FB_CO_CHECK(parts_.confinement.apply(request, order_, notes_));
  fileLabel_ = order_.fileLabel;
  FB_CO_TRY(const auto owner, ownerOnHost());
  const auto begun = co_await begin();
  if (!begun) co_return tl::unexpected<Error>(begun.error());

  // From here on the new process works in parallel.
  const auto entry = co_await prepareEntry(owner);
  if (!entry) co_return tl::unexpected<Error>(entry.error());
  const auto same = co_await pauseCheck_.confirm(request.sandbox, sandbox_.pause);
  co_return same;
}

asio::awaitable<Result<>> Launch::prepareEntry(uid_t owner) {
  const auto& workload = request_.workload;
  if (!isProbe()) {
    logFile_ = logFileOf(request_.sandbox.logDirectory, workload.match.container, request_.restartCount);
    if (!logFile_.empty()) openedLog_ = beginLog(*parts_.pool, logTarget());
    FB_CO_CHECK(makeFifos(owner));
  }
  FB_CO_CHECK(makeLegacyLeaves(*parts_.grounds.cgroups, leaf_, workload.resources, entry_));
  if (isProbe()) co_return openNoEntry();
  const auto opened = co_await openEntry();
  co_return opened;
}

asio::awaitable<Result<>> Launch::begin() {
  const auto& request = request_;
  const auto& container = request.workload.match.container;
  FB_CO_TRY(leaf_, leafBelow(*parts_.options.cgroups, request.sandbox.cgroupParent,
                             isProbe() ? probeLeafName(container, request.probePlace) : leafName(container)));
  if (isProbe()) noteProbe();
  FB_CO_CHECK(makeUnifiedLeaf(*parts_.grounds.cgroups, leaf_, request.workload.resources, order_, fds_));
  const auto taken = co_await takeVolumes();
  if (!taken) co_return tl::unexpected<Error>(taken.error());
  FB_CO_CHECK(openMounts());
  fds_.executable = sys::UniqueFd(::fcntl(request.executable->get(), F_DUPFD_CLOEXEC, 0));
  fds_.sandbox = sys::PidFd(::fcntl(sandbox_.pause.get(), F_DUPFD_CLOEXEC, 0));
  if (!fds_.executable || !fds_.sandbox) {
    co_return failErrno(Stage::exec, "hold the executable and the sandbox");
  }
  auto begun = co_await parts_.spawner.begin(std::move(order_), std::move(fds_));
  if (!begun) co_return tl::unexpected<Error>(begun.error());
  begun_ = std::move(*begun);
  co_return Result<>{};
}

void Launch::noteProbe() {
  probeLeaves_ = pathsOf(leaf_);
  parts_.probeLeaves.insert(probeLeaves_.begin(), probeLeaves_.end());
}

Result<> Launch::makeFifos(uid_t owner) {
  const auto& id = request_.recoveryId;
  auto made = parts_.grounds.fifos->make(id, owner, fileLabel_);
  if (!made && made.error().errnum == ENOENT) {
    // Somebody removed the run folder: create it again.
    FB_TRY(auto fifos, FifoFolders::open(parts_.options.runDir));
    parts_.grounds.fifos = std::make_shared<const FifoFolders>(std::move(fifos));
    grounds_ = parts_.grounds;
    made = parts_.grounds.fifos->make(id, owner, fileLabel_);
  }
  fifosMade_ = made.has_value();
  return made;
}

asio::awaitable<Result<>> Launch::openEntry() {
  const auto& id = request_.recoveryId;
  const auto& fifos = *parts_.grounds.fifos;
  FB_CO_TRY(entry_.out, fifos.openFifo(id, "stdout", FifoEnd::process));
  FB_CO_TRY(entry_.err, fifos.openFifo(id, "stderr", FifoEnd::process));
  bool mayLink = true;
  if (openedLog_ != nullptr) {
    const auto opened = co_await openedLog_->outcome();
    if (!opened && leadsAway(opened.error())) co_return tl::unexpected<Error>(opened.error());
    // Any other file that cannot be opened is the pump's concern: it costs the log lines, not the process.
    if (!opened) notes_.push_back("its log file cannot be opened now: " + opened.error().message());
    mayLink = opened || isLate(opened.error());  // collectors follow the link as root
  }
  FB_CO_TRY(auto out, fifos.openFifo(id, "stdout", FifoEnd::daemon));
  FB_CO_TRY(auto err, fifos.openFifo(id, "stderr", FifoEnd::daemon));
  FB_CO_TRY(logs_, LogPump::start(parts_.executor, parts_.pool, std::move(out), std::move(err), logTarget()));
  if (mayLink) linkLog();
  co_return Result<>{};
}

/// The process takes two descriptors in any case, and closes these.
Result<> Launch::openNoEntry() {
  for (auto* const one : {&entry_.out, &entry_.err}) {
    *one = sys::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!*one) return failErrno(Stage::spawner, "open /dev/null");
  }
  return {};
}

/// The link where log collectors look. kubelet removes it once the log is gone.
void Launch::linkLog() {
  if (logFile_.empty()) return;
  const auto& pod = request_.sandbox.sandbox;
  const auto& container = request_.workload.match.container;
  const auto made = sys::LogLinks(parts_.options.logLinks)
                        .make({pod.podName, pod.podNamespace, container, sys::idOfLog(logFile_)}, logFile_);
  if (!made) notes_.push_back(made.error().message());
}

LogTarget Launch::logTarget() const {
  return {logFile_, parts_.options.logs, ownerOfLog(logFile_)};
}

/// One task for all volumes, and none if there are none. The worker runs while the rest is prepared.
void Launch::beginVolumes() {
  const auto& request = request_;
  const auto& workload = request.workload;
  if (workload.volumes.empty() && workload.envFiles.empty()) return;
  const auto& pod = request.sandbox.sandbox;
  workers::Task task;
  task.urgency = isProbe() ? workers::Urgency::background : workers::Urgency::launch;
  task.stage = Stage::rootfs;
  task.owner = {pod.podNamespace, pod.podUid};
  task.what = "the volumes of pod " + pod.podNamespace + "/" + pod.podName;
  task.limit = parts_.options.volumesLimit;
  VolumeSource source{parts_.options.kubeletPods, pod.podUid, parts_.options.allowedHostPaths,
                      sandbox_.users ? &sandbox_.users->users : nullptr};
  ask(task, VolumesQuestion{std::move(source), workload.volumes, workload.envFiles});
  asked_ = parts_.pool->begin(std::move(task));
}

asio::awaitable<Result<>> Launch::takeVolumes() {
  const auto asked = std::move(asked_);
  if (asked == nullptr) co_return Result<>{};
  auto outcome = co_await asked->outcome();
  if (!outcome) co_return tl::unexpected<Error>(outcome.error());
  FB_CO_TRY(volumes_, readVolumes(std::move(*outcome)));
  co_return Result<>{};
}

/// The node's own files and the sandbox's memory first, so that a volume may cover them or lie in them.
Result<> Launch::openMounts() {
  const auto& request = request_;
  const auto& workload = request.workload;
  PreparedMounts mounts;
  if (workload.caCertificates) {
    FB_TRY(auto file, prepareNodeFile(parts_.options.caCertificates));
    mounts.add({kCaCertificates, false}, std::move(file));
  }
  if (workload.timeZoneData) {
    FB_TRY(auto folder, prepareNodeFile(parts_.options.zoneInfo));
    mounts.add({kZoneInfo, true}, std::move(folder));
  }
  auto volumes = std::move(volumes_.mounts);
  const bool ownShm = std::any_of(volumes.targets.begin(), volumes.targets.end(),
                                  [](const MountTarget& target) { return target.path == "/dev/shm"; });
  if (!ownShm && !request.sandbox.shmPath.empty()) {
    FB_TRY(auto shm, prepareShm(request.sandbox.shmPath));
    mounts.add({"/dev/shm", true}, std::move(shm));
  }
  mounts.append(std::move(volumes));
  order_.mounts = std::move(mounts.targets);
  fds_.mounts = std::move(mounts.trees);
  return {};
}

/// The process's user on the host; fills in the order's user namespace part.
Result<uid_t> Launch::ownerOnHost() {
  order_.pids = sandbox_.pids;
  order_.sandboxPids = sandbox_.pidNamespace;
  const auto& user = request_.workload.user;
  if (!sandbox_.users) return user.uid;
  const auto uid = sandbox_.users->uids.outside(user.uid);
  const auto gid = sandbox_.users->gids.outside(user.gid);
  const auto rootUid = sandbox_.users->uids.outside(0);
  const auto rootGid = sandbox_.users->gids.outside(0);
  if (!uid || !gid || !rootUid || !rootGid) {
    return fail(Stage::identity, Reason::invalid,
                "the pod's user namespace has no user " + std::to_string(user.uid) + ":" +
                    std::to_string(user.gid) + ", or no root");
  }
  order_.sandboxUsers = true;
  order_.rootUid = *rootUid;
  order_.rootGid = *rootGid;
  return *uid;
}

asio::awaitable<Result<StartedProcess>> Launch::finish() {
  auto ordered = parts_.spawner.finish(std::move(begun_), std::move(entry_));
  auto started = co_await within(request_.workload.healthCheck.timeout + kLaunchLimit, std::move(ordered));
  if (!started) {
    co_return fail(Stage::spawner, Reason::timeout, "the launch did not finish in time and was aborted");
  }
  co_return std::move(*started);
}

/// Asks again for a while if the kernel cannot answer now: the program runs, and an error would end it.
asio::awaitable<Result<>> Launch::checkStarted(const StartedProcess& started) const {
  const auto& clock = LoopClock::of(parts_.executor);
  const auto deadline = clock.now() + kCheckLimit;
  Backoff pause(kCheckPauses);
  for (;;) {
    auto held = isHeld(started);
    if (held || !isTemporary(held.error())) co_return held;
    if (clock.now() >= deadline) {
      co_return fail(Stage::run, Reason::killed,
                     "ended after its start, because it could not be examined: " + held.error().message());
    }
    co_await pause.wait();
  }
}

/// A process that has ended, or is about to, is not examined further: its owner learns how it ended. It
/// leaves its v1 cgroups before it has ended.
Result<> Launch::isHeld(const StartedProcess& started) const {
  const auto elsewhere = fail(Stage::spawner, Reason::protocol, "the started process is not in its leaf");
  if (started.pid == 0) return elsewhere;
  const auto held = parts_.grounds.cgroups->hold(started.pid, pathsOf(leaf_));
  if (held && *held) return {};
  const auto exiting = sys::isExiting(Stage::run, started.pid);
  if (exiting && *exiting) return {};
  FB_TRY(const bool ended, sys::hasEnded(Stage::run, started.process));
  if (ended) return {};
  if (!held) return tl::unexpected<Error>(held.error());
  return elsewhere;
}

std::unique_ptr<Process> Launch::makeProcess(StartedProcess started) {
  ProcessRecord record;
  record.recoveryId = request_.recoveryId;
  record.pid = started.pid;
  // Zero if it ended at once (exited() reports how), or if the kernel could not tell.
  record.startTime = sys::startTimeOf(Stage::run, started.pid).value_or(0);
  record.cgroupLeaves = pathsOf(leaf_);
  record.namespaces = sys::namespacesOf(Stage::run, started.pid).value_or(std::vector<std::string>{});
  record.fifoDir = parts_.grounds.fifos->pathOf(record.recoveryId);
  record.logFile = logFile_;
  times_.prepared = started.prepared;
  times_.healthChecked = started.healthChecked;
  times_.started = started.started;
  kept_ = true;
  return std::make_unique<LocalProcess>(parts_.executor, parts_.grounds, std::move(record), times_,
                                        std::move(started.process), std::move(started.exit), std::move(logs_),
                                        std::move(notes_), std::move(sandbox_.network));
}

}  // namespace fallbackd::launcher
