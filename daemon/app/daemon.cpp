#include "app/daemon.hpp"

#include "app/status.hpp"
#include "cache/folder_watch.hpp"
#include "config/load.hpp"
#include "config/reload.hpp"
#include "cri/grpc_runtime.hpp"
#include "launcher/local_launcher.hpp"
#include "launcher/readiness.hpp"
#include "recovery/manager.hpp"
#include "sys/file.hpp"
#include "telemetry/http_server.hpp"
#include "watcher/image_reference.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <signal.h>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::app {

namespace asio = boost::asio;
using cri::Awaitable;
using namespace std::chrono_literals;

namespace {

constexpr auto kCacheInterval = 30s;

}  // namespace

struct Daemon::Parts {
  Parts(Options given, config::ConfigPtr first)
      : options(std::move(given)),
        config(std::move(first)),
        log(config->telemetry.logFormat, config->telemetry.logLevel),
        metrics(FALLBACKD_VERSION),
        containerd(cri::connect(config->containerd.socket, config->containerd.namespaceName, executor())),
        traffic(config->containerd.socket),
        binaries(executor(), config->cache, metrics, log),
        launcher(executor(), {config->launcher, {}, {}, {}},
                 [this](std::string sandboxId) { return pausePid(std::move(sandboxId)); }),
        http(executor()),
        tasks(executor()) {}

  asio::any_io_executor executor() { return loop.get_executor(); }

  /// What CRI says now is the sandbox's pause process: the launcher compares it with the one it holds.
  Awaitable<Result<pid_t>> pausePid(std::string sandboxId) {
    const auto status = co_await containerd.runtime->sandboxStatus(std::move(sandboxId));
    if (!status) co_return tl::unexpected<Error>(status.error());
    co_return status->pausePid;
  }

  Result<> start();
  Awaitable<void> work();
  Awaitable<void> handleSignals();
  Awaitable<void> followConfigFiles();
  Awaitable<void> followCache();
  Awaitable<void> shutDown();
  void reload();
  void addRoutes();
  telemetry::Response readiness() const;
  std::string status() const;
  std::map<std::string, int> circuits() const;

  Options options;
  config::ConfigPtr config;
  bool configCurrent = true;
  int exitCode = 0;
  // One thread runs the loop: all state above gRPC and the worker pool lives on it.
  asio::io_context loop{1};
  telemetry::Log log;
  telemetry::Metrics metrics;
  cri::Connection containerd;
  watcher::ContainerdTraffic traffic;
  recovery::CachedBinaries binaries;
  launcher::LocalLauncher launcher;
  telemetry::HttpServer http;
  std::optional<recovery::Journal> journal;
  std::optional<recovery::Services> services;
  std::optional<recovery::Manager> manager;
  std::optional<watcher::Watcher> watcher;
  TaskGroup tasks;
};

Daemon::Daemon(Options options, config::ConfigPtr config)
    : parts_(std::make_unique<Parts>(std::move(options), std::move(config))) {}

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
  metrics.configLoaded(true);
  FB_CHECK(sys::makeDirs(Stage::journal, config->launcher.runDir, 0755));
  FB_TRY(auto opened, recovery::Journal::open(config->launcher.runDir));
  journal = std::move(opened);
  FB_CHECK(launcher.start());
  services.emplace(recovery::Services{executor(), *containerd.runtime, binaries, launcher, *journal, metrics,
                                      log, options.nodeName, &launcher::waitReady, &launcher::askOnce});
  manager.emplace(*services, config);
  watcher.emplace(executor(), *containerd.runtime, *containerd.events, traffic, *manager, config);
  addRoutes();
  if (config->telemetry.listen) FB_CHECK(http.listenTcp(*config->telemetry.listen));
  FB_CHECK(http.listenUnix(config->telemetry.socket));
  tasks.spawn(work());
  tasks.spawn(handleSignals());
  tasks.spawn(followConfigFiles());
  tasks.spawn(followCache());
  return {};
}

/// Admission first, so that the first recovery finds its binary resident; adoption before detection, so that
/// nothing that runs is started twice.
Awaitable<void> Daemon::Parts::work() {
  co_await binaries.refresh(config);
  co_await manager->adopt();
  co_await watcher->run();
}

Awaitable<void> Daemon::Parts::handleSignals() {
  asio::signal_set signals(loop, SIGTERM, SIGINT, SIGHUP);
  for (;;) {
    const int number = co_await signals.async_wait(asio::use_awaitable);
    if (number != SIGHUP) break;
    reload();
  }
  log.info("fallbackd stops; fallbacks run on and are adopted by the next start", {});
  // A coroutine of its own: this one is among those that are ended.
  asio::co_spawn(loop, shutDown(), asio::detached);
}

Awaitable<void> Daemon::Parts::shutDown() {
  tasks.cancelAll();
  co_await tasks.drained();
  co_await manager->stop();
  http.stop();
  loop.stop();
}

Awaitable<void> Daemon::Parts::followConfigFiles() {
  config::Watcher files(executor(), options.configFile, options.dropInDir);
  for (;;) {
    const auto changed = co_await files.changed();
    if (!changed) {
      log.error("configuration files cannot be watched; SIGHUP still works",
                {{"error", changed.error().message()}});
      co_return;
    }
    reload();
  }
}

/// The interval also finds what only time changes: an expiry, a step of the clock.
Awaitable<void> Daemon::Parts::followCache() {
  auto watch = cache::FolderWatch::create(executor(), {config->cache.path, config->cache.keys});
  if (!watch) {
    log.error("the cache cannot be watched; a reload looks at it anew", {{"error", watch.error().message()}});
    co_return;
  }
  for (;;) {
    co_await watch->changed(kCacheInterval);
    co_await binaries.refresh(config);
  }
}

void Daemon::Parts::reload() {
  const auto loaded = config::load(options.configFile, options.dropInDir);
  metrics.configLoaded(loaded.config != nullptr);
  configCurrent = loaded.config != nullptr;
  if (loaded.config == nullptr) {
    for (const auto& diagnostic : loaded.diagnostics) {
      log.error("configuration refused", {{"error", diagnostic.toString()}});
    }
    log.warn("the earlier configuration stays in use", {{"problems", loaded.diagnostics.size()}});
    return;
  }
  config = loaded.config;
  log.reconfigure(config->telemetry.logFormat, config->telemetry.logLevel);
  log.info("configuration read", {{"file", options.configFile}, {"workloads", config->workloads.size()}});
  manager->reconfigure(config);
  watcher->reconfigure(config);
  tasks.spawn(binaries.refresh(config));
}

telemetry::Response Daemon::Parts::readiness() const {
  if (manager->connected()) return {200, "text/plain; charset=utf-8", "ready\n"};
  return {503, "text/plain; charset=utf-8", "not ready: containerd is not connected\n"};
}

std::string Daemon::Parts::status() const {
  const Status now{FALLBACKD_VERSION,    options.nodeName, manager->connected(),
                   options.configFile,   configCurrent,    watcher->waitingContainers(),
                   watcher->registries()};
  return statusJson(now, *config, manager->incidents());
}

/// Hosts of the configuration by their name, the others (of pods' annotations) as one: the worst of them.
std::map<std::string, int> Daemon::Parts::circuits() const {
  std::map<std::string, int> states;
  for (const auto& workload : config->workloads) states[watcher::registryHost(workload.image)] = 0;
  for (const auto& registry : watcher->registries()) {
    auto& state = states.contains(registry.name) ? states[registry.name] : states["other"];
    state = std::max(state, static_cast<int>(registry.state));
  }
  return states;
}

void Daemon::Parts::addRoutes() {
  http.route("/healthz", [] { return telemetry::Response{200, "text/plain; charset=utf-8", "ok\n"}; });
  http.route("/readyz", [this] { return readiness(); });
  http.route("/metrics", [this] {
    metrics.waitingContainers(watcher->waiting());
    metrics.registryCircuits(circuits());
    metrics.containerdCalls(containerd.calls->all());
    return telemetry::Response{200, "text/plain; version=0.0.4; charset=utf-8", metrics.serialize()};
  });
  http.route("/status", [this] { return telemetry::Response{200, "application/json", status() + "\n"}; });
}

}  // namespace fallbackd::app
