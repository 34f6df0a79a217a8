// SPDX-License-Identifier: Apache-2.0
#include "app/daemon.hpp"

#include "app/covered_pods.hpp"
#include "app/credential_work.hpp"
#include "app/daemon_parts.hpp"
#include "app/heap.hpp"
#include "app/next_start.hpp"
#include "base/async/pause.hpp"
#include "base/async/within.hpp"
#include "base/fair_share.hpp"
#include "config/file_watch.hpp"
#include "config/load.hpp"
#include "config/settle.hpp"
#include "kube/kubeconfig.hpp"
#include "recovery/readiness.hpp"
#include "sys/cgroup.hpp"
#include "sys/file.hpp"
#include "sys/network.hpp"
#include "sys/process.hpp"
#include "sys/tcp_sockets.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <signal.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::app {

namespace asio = boost::asio;
using cri::Awaitable;
using namespace std::chrono_literals;

namespace {

constexpr auto kCacheInterval = 30s;
constexpr auto kLoopLimit = 1s;  // a turn normally takes microseconds
constexpr auto kHeapInterval = 10s;
constexpr auto kRemovalLimit = 12s;  // of the 60 s that kubelet and systemd leave
constexpr std::size_t kKeptHeap = 8UL << 20;
constexpr std::size_t kMaxChosenBinaries = 64;

Result<recovery::Services::Listeners> listenersOf(pid_t pid, std::uint16_t port) {
  FB_TRY(auto diagnosis, sys::TcpDiagnosis::open(Stage::readiness, pid));
  const auto shared = std::make_shared<const sys::TcpDiagnosis>(std::move(diagnosis));
  return recovery::Services::Listeners([shared, port] { return shared->listenersOn(port); });
}

/// Without this, connections that arrive at the moment of the hand-back may be reset.
void passOnWaiting(pid_t pid) {
  const auto network = sys::openNamespace(Stage::hand_back, pid, "net");
  if (network) static_cast<void>(sys::passOnWaitingConnections(Stage::hand_back, *network));
}

}  // namespace

Awaitable<Result<pid_t>> Daemon::Parts::pausePid(std::string sandboxId) {
  const auto status = co_await containerd.runtime->sandboxStatus(std::move(sandboxId));
  if (!status) co_return tl::unexpected<Error>(status.error());
  co_return status->pausePid;
}

std::vector<std::string> Daemon::Parts::nodeAddresses(pid_t pause) const {
  if (!options.nodeIp.empty()) return {options.nodeIp};
  const auto network = sys::openNamespace(Stage::sandbox, pause, "net");
  if (!network) return {};
  return sys::addressesIn(Stage::sandbox, *network).value_or(std::vector<std::string>());
}

Daemon::Daemon(Options options, config::Loaded loaded)
    : parts_(std::make_unique<Parts>(std::move(options), std::move(loaded))) {}

Daemon::~Daemon() = default;

int Daemon::run() {
  const auto started = parts_->start();
  if (!started) {
    parts_->log.error("cannot start", {{"error", started.error().message()}});
    return 1;
  }
  parts_->loop.run();
  return parts_->exitCode;
}

Result<> Daemon::Parts::start() {
  log.info("fallbackd starts", {{"version", FALLBACKD_VERSION},
                                {"node", options.nodeName},
                                {"workloads", config->workloads.size()},
                                {"containerd", config->containerd.socket}});
  metrics.daemon.configLoaded(telemetry::ConfigLoad::ok);
  metrics.configured(*loaded);
  saySettle();
  // Before anything is touched that another daemon may own.
  FB_TRY(const auto hierarchies, sys::cgroupHierarchies());
  FB_TRY(auto lock, launcher::NodeLock::take(hierarchies, {options.configFile, config->launcher.runDir}));
  nodeLock = std::move(lock);
  FB_CHECK(sys::makeDirs(Stage::journal, config->launcher.runDir, 0755));
  FB_TRY(auto opened, recovery::Journal::open(config->launcher.runDir));
  journal = std::move(opened);
  journal->countIn(metrics.journal);
  launcher.workers()->onMissed([this](const workers::Missed& missed) { tellMissed(missed); });
  FB_CHECK(launcher.start());
  services.emplace(recovery::Services{executor(), *containerd.runtime, binaries, launcher, *journal,
                                      metrics.recovery, metrics.detection, metrics.orders, log,
                                      options.nodeName, &launcher::waitReady, &launcher::askOnce,
                                      [this](pid_t pause) { return nodeAddresses(pause); }});
  services->listenersOf = &listenersOf;
  services->passOnWaiting = &passOnWaiting;
  services->specs = &podSources;
  podSources.readFor([this](const kube::PodObject& pod) { return mayInherit(*config, pod); });
  if (config->kubernetes.events) services->podEvents = &podEvents;
  services->standIns = &standIns;
  standIns.onTrouble([this](const Error& error) { complain("stand-ins: " + error.message()); });
  services->standInMetrics = &metrics.standIns;
  services->rollout = [this](const std::string& podUid) { return podSources.rolloutFacts(podUid); };
  services->askRollout = [this](const std::string& podUid) { podSources.askRollout(podUid); };
  services->endpoints = [this](const std::string& podUid) { return podSources.endpoints(podUid); };
  services->askEndpoints = [this](const std::string& podUid) { podSources.askEndpoints(podUid); };
  services->readyWithout = [this](const std::string& podUid, const std::string& container,
                                  const std::string& containerId) {
    return podSources.readyWithout(podUid, container, containerId);
  };
  services->isDeleting = [this](const std::string& podUid) { return podSources.isDeleting(podUid); };
  readDrill();
  recoveries.emplace(*services, config);
  readPause();
  watcher.emplace(executor(), *containerd.runtime, *containerd.events, traffic, *recoveries, config,
                  podSources);
  podSources.onPauses([this](const config::Pause::Orders& annotated) {
    orders.annotated = annotated;
    followOrders();
  });
  startMirror();
  podSources.onChange([this](const std::string& podUid) {
    if (!std::exchange(chosenMayDiffer, true)) tasks.spawn(followChosen());
    watcher->specChanged(podUid);
  });
  podSources.onStatus([this](const std::string& podUid) { recoveries->podDescribed(podUid); });
  watcher->credentials().readFilesWith(
      [pool = launcher.workers()](std::string path) { return readByWorker(pool, std::move(path)); });
  watcher->credentials().runProgramsWith([pool = launcher.workers()](watcher::ProviderProgram program) {
    return runByWorker(pool, std::move(program));
  });
  loopWatch.emplace(executor(), ::gettid(), kLoopLimit,
                    [this](const telemetry::LoopWatch::Stall& stall) { tellStall(stall); });
  endpoints.emplace(
      config->telemetry, config->launcher.runDir, executor(), [this] { return collect(); }, metrics,
      [this] { return loopWatch->stalled(); }, [this](const std::string& what) { complain(what); });
  FB_CHECK(endpoints->open());
  podSources.start(executor(), *config, options);
  tasks.spawn(work());
  tasks.spawn(handleSignals());
  tasks.spawn(followConfigFiles());
  tasks.spawn(followCache());
  tasks.spawn(followPause());
  tasks.spawn(feedWatchdog());
  tasks.spawn(tendHeap());
  if (!options.daemonSet.empty()) {
    ownDaemonSet.emplace([file = config->kubernetes.kubeconfig] { return kube::apiServerAccess(file); },
                         options.daemonSet);
    tasks.spawn(ownDaemonSet->see([this] {
      log.warn("DAEMON_SET is not found: an uninstall will not be noticed, and stand-ins will stay",
               {{"daemonSet", options.daemonSet}});
    }));
  }
  return {};
}

std::vector<BinaryRef> Daemon::Parts::chosenBinaries() const {
  std::map<std::string, std::set<BinaryRef>> wanted;
  const auto add = [&](const std::string& podNamespace, const watcher::PodChoices& choices) {
    for (const auto& one : choices.choices) {
      if (config->podAnnotations.allows(one.binary.name, podNamespace))
        wanted[podNamespace].insert(one.binary);
    }
  };
  for (const auto& pod : podSources.pods().all()) {
    if (config->podAnnotations.countIn(pod->namespaceName))
      add(pod->namespaceName, watcher::readChoices(pod->annotations));
  }
  // Without sources, the choices of pods that have a sandbox.
  if (watcher) {
    for (const auto& pod : watcher->pods()) add(pod.sandbox.podNamespace, pod.choices);
  }
  const auto chosen = fairShare(wanted, kMaxChosenBinaries);
  return {chosen.begin(), chosen.end()};
}

Awaitable<void> Daemon::Parts::refreshBinaries() {
  admittedForPods = chosenBinaries();
  co_await binaries.refresh(config, admittedForPods);
}

/// Admits what a pod chose before the pod needs it, if possible. Once for many changes.
Awaitable<void> Daemon::Parts::followChosen() {
  co_await asio::post(loop, asio::use_awaitable);
  chosenMayDiffer = false;
  if (chosenBinaries() != admittedForPods) co_await refreshBinaries();
}

/// Admission first, so that the first recovery finds its binary resident. Adoption before detection, so that
/// nothing is started twice.
Awaitable<void> Daemon::Parts::work() {
  co_await refreshBinaries();
  co_await recoveries->adopt();
  // In parallel with the watcher: nothing else sends it, and without it systemd ends the daemon.
  tasks.spawn(serviceManager.insist("READY=1"));
  co_await watcher->run();
}

/// Sent from the loop itself: if the loop hangs, systemd restarts the daemon, and its fallbacks are adopted.
Awaitable<void> Daemon::Parts::feedWatchdog() {
  const auto interval = serviceManager.watchdogInterval();
  while (interval) {
    co_await pauseFor(*interval);
    auto told = serviceManager.insist("WATCHDOG=1");
    co_await std::move(told);
  }
}

/// A runtime answer of several megabytes leaves large holes in the heap.
Awaitable<void> Daemon::Parts::tendHeap() {
  for (;;) {
    co_await pauseFor(kHeapInterval);
    returnFreeHeap(kKeptHeap);
  }
}

Awaitable<void> Daemon::Parts::handleSignals() {
  asio::signal_set signals(loop, SIGTERM, SIGINT, SIGHUP);
  for (;;) {
    const int number = co_await signals.async_wait(asio::use_awaitable);
    if (number != SIGHUP) break;
    reload();
  }
  // From here on another signal ends the process if the stop hangs.
  serviceManager.tell("STOPPING=1");
  log.info("fallbackd is stopping; fallbacks keep running and the next start adopts them", {});
  // A separate coroutine: this one is among those that are cancelled.
  asio::co_spawn(loop, shutDown(), asio::detached);
}

Awaitable<void> Daemon::Parts::shutDown() {
  // Pods are watched to the end; after an uninstall no daemon would adopt a recovery that began now.
  recoveries->beginNothing();
  tasks.cancelAll();
  co_await tasks.drained();
  bool uninstalled = false;
  if (ownDaemonSet) uninstalled = co_await ownDaemonSet->isGone();
  if (ownDaemonSet && !ownDaemonSet->seen())
    log.warn("not known whether this is an uninstall; stand-ins stay", {{"daemonSet", options.daemonSet}});
  co_await recoveries->stop();
  if (uninstalled) co_await removeStandIns();
  podSources.stop();
  endpoints->close();
  if (mirror) mirror->close();
  loopWatch.reset();
  loop.stop();
}

/// kubelet would take them for the real containers for ever. The fallbacks go on.
Awaitable<void> Daemon::Parts::removeStandIns() {
  const auto removed = co_await standIns.removeEvery(kRemovalLimit);
  if (!removed) {
    log.error("the DaemonSet is gone, but stand-ins cannot be removed: fallbackd --remove-stand-ins does it",
              {{"error", removed.error().message()}});
    co_return;
  }
  log.info("removed all stand-ins: the DaemonSet is gone", {{"standIns", *removed}});
}

sys::WatchNews::Told Daemon::Parts::sayWatched(const std::string& what) {
  return [this, what](const Result<>& watched) {
    if (watched) {
      log.info("changes can be watched again", {{"of", what}});
    } else {
      log.warn("changes cannot be watched: until that works again, they are found at intervals",
               {{"of", what}, {"error", watched.error().message()}});
    }
  };
}

Awaitable<void> Daemon::Parts::followConfigFiles() {
  config::FileWatch files(executor(), options.configFile, options.dropInDir,
                          sayWatched("the configuration files"), filesAsRead);
  for (;;) {
    co_await files.changed();
    reload();
  }
}

std::vector<std::string> Daemon::Parts::cacheFolders() const {
  std::vector<std::string> folders{config->cache.path, config->cache.keys};
  if (const auto& list = config->cache.revoked) folders.push_back(std::filesystem::path(*list).parent_path());
  return folders;
}

/// The interval also covers what only time changes: an expiry.
Awaitable<void> Daemon::Parts::followCache() {
  cacheWatch.emplace(executor(), cacheFolders(), sayWatched("the cache"));
  for (;;) {
    co_await cacheWatch->changed(kCacheInterval);
    co_await refreshBinaries();
  }
}

/// Logs it once, and again when it changes.
void Daemon::Parts::saySettle() {
  auto problem = config::problemOfSettle(*loaded);
  if (!problem.empty() && problem != settleProblem)
    log.info("settle: auto has no effect", {{"why", problem}});
  settleProblem = std::move(problem);
}

void Daemon::Parts::reload() {
  const auto files = config::load(options.configFile, options.dropInDir, options.listen, options.sources);
  metrics.daemon.configLoaded(files.config != nullptr ? telemetry::ConfigLoad::ok
                                                      : telemetry::ConfigLoad::refused);
  configProblems.clear();
  if (files.config == nullptr) {
    for (const auto& diagnostic : files.diagnostics) {
      configProblems.push_back(diagnostic.toString());
      log.error("configuration refused", {{"error", diagnostic.toString()}});
    }
    log.warn("the earlier configuration stays in use", {{"problems", files.diagnostics.size()}});
    return;
  }
  loaded = files.config;
  log.reconfigure(loaded->telemetry.logFormat, loaded->telemetry.logLevel);
  log.info("configuration read", {{"file", options.configFile}, {"workloads", loaded->workloads.size()}});
  metrics.configured(*loaded);
  saySettle();
  for (const auto& key : changesForNextStart(*atStart, *loaded)) {
    log.warn("the change of " + key + " takes effect at the next start", {});
  }
  launcher.reconfigure(loaded->launcher);
  useConfig();
  if (cacheWatch) cacheWatch->watchInstead(cacheFolders());
  if (stateWatch) stateWatch->watchInstead({config->cache.state});
  readPause();
  readDrill();
  podSources.reconsider();
  tasks.spawn(refreshBinaries());
}

/// Called on the watch's thread.
void Daemon::Parts::tellStall(const telemetry::LoopWatch::Stall& stall) {
  if (stall.over) {
    metrics.daemon.loopTurnsAgain(stall.length);
    log.warn("the event loop responds again", {{"afterMs", toMillis(stall.length)}});
    return;
  }
  metrics.daemon.loopStalled();
  log.error("the event loop hangs: detection and all pods wait",
            {{"forMs", toMillis(stall.length)}, {"stack", stall.stack}});
}

void Daemon::Parts::tellMissed(const workers::Missed& missed) {
  log.warn("files of a pod do not respond; the worker was given up",
           {{"namespace", missed.owner.namespaceName},
            {"what", missed.what},
            {"stuckWorkers", missed.stuckOfPod}});
}

/// Called on the endpoints' thread.
void Daemon::Parts::complain(const std::string& what) {
  asio::post(loop, [this, what] { recoveries->trouble(what); });
}

}  // namespace fallbackd::app
