// SPDX-License-Identifier: Apache-2.0
// The parts of the daemon, for its sources: daemon.cpp (start, reload, stop) and daemon_snapshot.cpp (what it
// shows).
#pragma once

#include "app/daemon.hpp"
#include "app/endpoints.hpp"
#include "app/notify.hpp"
#include "app/pod_events.hpp"
#include "app/pod_sources.hpp"
#include "cache/folder_watch.hpp"
#include "config/drill.hpp"
#include "cri/grpc_runtime.hpp"
#include "kube/own_daemon_set.hpp"
#include "launcher/local_launcher.hpp"
#include "launcher/node_lock.hpp"
#include "mirror/mirror.hpp"
#include "recovery/recoveries.hpp"
#include "standin/containerd_stand_ins.hpp"
#include "sys/watch_news.hpp"
#include "telemetry/loop_watch.hpp"
#include "telemetry/metrics.hpp"

#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

namespace fallbackd::app {

struct Daemon::Parts {
  Parts(Options given, config::Loaded first)
      : options(std::move(given)),
        loaded(std::move(first.config)),
        filesAsRead(std::move(first.metadata)),
        log(config->telemetry.logFormat, config->telemetry.logLevel),
        metrics(FALLBACKD_VERSION),
        containerd(cri::connect(config->containerd.socket, config->containerd.namespaceName, executor())),
        traffic(config->containerd.socket, config->mirror.listen.value_or("")),
        binaries(executor(), config->cache, metrics.cache, log),
        launcher(executor(), {config->launcher, {}, {}, {}},
                 [this](std::string sandboxId) { return pausePid(std::move(sandboxId)); }),
        tasks(executor()) {}
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  /// The server's thread uses everything in here.
  ~Parts() {
    if (endpoints) endpoints->close();
    if (mirror) mirror->close();
  }

  boost::asio::any_io_executor executor() { return loop.get_executor(); }

  /// The sandbox's pause process according to CRI: the launcher compares it with the one it holds.
  cri::Awaitable<Result<pid_t>> pausePid(std::string sandboxId);
  /// The configured address; otherwise the source addresses of the pod's own network, which is the host's.
  std::vector<std::string> nodeAddresses(pid_t pause) const;

  /// What annotations of this node's pods choose, if they count.
  std::vector<BinaryRef> chosenBinaries() const;
  cri::Awaitable<void> refreshBinaries();
  cri::Awaitable<void> followChosen();

  Result<> start();
  cri::Awaitable<void> work();
  cri::Awaitable<void> handleSignals();
  sys::WatchNews::Told sayWatched(const std::string& what);
  cri::Awaitable<void> followConfigFiles();
  cri::Awaitable<void> followCache();
  cri::Awaitable<void> followPause();
  cri::Awaitable<void> feedWatchdog();
  cri::Awaitable<void> tendHeap();
  cri::Awaitable<void> shutDown();
  cri::Awaitable<void> removeStandIns();
  void reload();
  std::vector<std::string> cacheFolders() const;
  void readPause();
  void readDrill();
  void useConfig();
  void followOrders();
  void saySettle();
  Snapshot collect();
  void startMirror();
  bool openMirror(const config::ConfigPtr& first);
  cri::Awaitable<void> retryMirror(config::ConfigPtr first);
  void tellServed(const mirror::ServedImage& image);
  void nameMirrors();
  void complain(const std::string& what);
  void tellStall(const telemetry::LoopWatch::Stall& stall);
  void tellMissed(const workers::Missed& missed);
  std::map<std::string, telemetry::CircuitState> circuits() const;

  Options options;
  config::ConfigPtr loaded;           // from the files
  config::ConfigPtr config = loaded;  // with the drill
  const config::ConfigPtr atStart = loaded;
  const std::string filesAsRead;            // their metadata before the first read
  std::string settleProblem;                // as last logged
  std::vector<std::string> configProblems;  // in the file on disk, which was refused
  std::string pauseProblem;                 // why the order to pause cannot be read; empty: it can
  config::Pause orders;                     // of the operator, and by annotations of namespaces
  bool ordersKnown = false;                 // they were read, or their damaged file was judged
  std::optional<config::Drill> drill;       // while it holds
  std::string drillProblem;                 // why there is none although one was ordered
  const Wall::time_point started = Clock::system().wall();
  bool chosenMayDiffer = false;            // followChosen() has been started
  std::vector<BinaryRef> admittedForPods;  // chosenBinaries() of the latest refresh
  int exitCode = 0;
  std::optional<Endpoints> endpoints;  // before the loop: answers the loop's requests to the end
  ServiceManager serviceManager = ServiceManager::fromEnvironment();
  // One thread runs the loop: all state above gRPC, the worker pool and the endpoints' thread lives on it.
  boost::asio::io_context loop{1};
  std::optional<cache::FolderWatch> cacheWatch;
  std::optional<cache::FolderWatch> stateWatch;
  std::optional<launcher::NodeLock> nodeLock;
  telemetry::Log log;
  telemetry::Metrics metrics;
  PodSources podSources{log};
  PodEventWriter podEvents{podSources};
  cri::Connection containerd;
  standin::ContainerdStandIns standIns{*containerd.runtime, *containerd.control, config->launcher.runDir,
                                       sys::LogLinks(config->launcher.logLinks)};
  watcher::ContainerdTraffic traffic;
  recovery::CachedBinaries binaries;
  launcher::LocalLauncher launcher;
  std::optional<recovery::Journal> journal;
  std::optional<recovery::Services> services;
  std::optional<recovery::Recoveries> recoveries;
  std::unique_ptr<mirror::Mirror> mirror;  // before the watcher, which refers to it
  std::string mirrorProblem;               // why it does not run although it is configured
  std::optional<watcher::Watcher> watcher;
  TaskGroup tasks;
  std::optional<telemetry::LoopWatch> loopWatch;
  std::optional<kube::OwnDaemonSet> ownDaemonSet;
};

}  // namespace fallbackd::app
