// SPDX-License-Identifier: Apache-2.0
// What a launch costs, from the moment when detection reports the failure to an accepted connection, compared
// with posix_spawn, runc and ctr starting the same program, interleaved in one run. Then a hundred launches
// at the same time. Usage: bench_launch [ROUNDS [PODS]].
#include "config/load.hpp"
#include "contenders.hpp"
#include "cri/grpc_runtime.hpp"
#include "figures.hpp"
#include "fleet.hpp"
#include "isolate.hpp"
#include "launcher/local_launcher.hpp"
#include "recovery/readiness.hpp"
#include "recovery/recoveries.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "telemetry/metrics.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace asio = boost::asio;
namespace json = boost::json;

constexpr auto kCeiling = 120s;
constexpr double kMaxOverBareP50 = 1.5;
constexpr double kMaxOverBareP99 = 2;
constexpr double kMinSpeedupOverRunc = 5;

/// The daemon's own parts after detection, on their own thread: what fallbackd does from the verdict on.
class Recoveries {
 public:
  /// `hierarchies`: where leaves are created; empty: in all of them.
  Recoveries(config::ConfigPtr config, std::optional<std::vector<sys::CgroupHierarchy>> hierarchies)
      : config_(std::move(config)),
        log_(config::LogFormat::human, config::LogLevel::error),
        metrics_("bench"),
        containerd_(cri::connect(config_->containerd.socket, config_->containerd.namespaceName, executor())),
        binaries_(executor(), config_->cache, metrics_.cache, log_),
        launcher_(executor(), {config_->launcher, binary("fallbackd-spawner"), {}, std::move(hierarchies)},
                  [this](std::string sandboxId) { return pausePid(std::move(sandboxId)); }) {}
  Recoveries(const Recoveries&) = delete;
  Recoveries& operator=(const Recoveries&) = delete;
  ~Recoveries() {
    if (recoveries_) asio::co_spawn(loop_, recoveries_->stop(), asio::use_future).wait();
    loop_.stop();
    if (thread_.joinable()) thread_.join();
  }

  Result<> start(const Pod& pod) {
    FB_TRY(auto journal, recovery::Journal::open(config_->launcher.runDir));
    journal_ = std::move(journal);
    FB_CHECK(launcher_.start());
    services_.emplace(recovery::Services{executor(), *containerd_.runtime, binaries_, launcher_, *journal_,
                                         metrics_.recovery, metrics_.detection, metrics_.orders, log_,
                                         "bench-node", &launcher::waitReady, &launcher::askOnce});
    recoveries_.emplace(*services_, config_);
    thread_ = std::thread([this] { loop_.run(); });
    asio::co_spawn(loop_, binaries_.refresh(config_), asio::use_future).wait();
    auto status =
        asio::co_spawn(loop_, containerd_.runtime->sandboxStatus(pod.sandboxId), asio::use_future).get();
    if (!status) return tl::unexpected<Error>(status.error());
    status_ = std::move(*status);
    return {};
  }

  void detected() {
    asio::post(loop_, [this] {
      watcher::Detection detection;
      detection.sandbox = status_.sandbox;
      detection.status = status_;  // the watcher reads the status while the registry is probed
      detection.workload = watcher::WorkloadPtr(config_, config_->workloads.data());
      detection.cause = Cause::unreachable;
      detection.waitingSince = detection.failureKnown = reported_ = Monotonic::now();
      recoveries_->detected(std::move(detection));
    });
  }
  /// Ends the recovery and records its phases.
  Result<> end() {
    asio::post(loop_, [this] { recoveries_->sandboxGone(status_.sandbox.id); });
    recovery::Incident last;
    const bool over = waitUntil(kCeiling, [&] {
      std::promise<recovery::Incident> newest;
      asio::post(loop_, [&] {
        const auto all = recoveries_->incidents();
        newest.set_value(all.empty() ? recovery::Incident{} : all.front());
      });
      last = newest.get_future().get();
      return recovery::isEnd(last.state);
    });
    const auto& stamps = last.stamps;
    if (!over || !stamps.started) {
      return fail(Stage::run, Reason::internal,
                  last.error ? last.error->message() : "the recovery did not end");
    }
    const auto add = [&](const char* name, Stamp from, Stamp to) {
      phases[name].push_back(toMillis(to - from));
    };
    add("1 binary ready", stamps.detected, *stamps.verified);
    add("2 leaf, root, user", *stamps.verified, *stamps.prepared);
    add("3 health check", *stamps.prepared, *stamps.healthChecked);
    add("4 execveat", *stamps.healthChecked, *stamps.started);
    return {};
  }

  /// When the recovery was reported; valid after end().
  [[nodiscard]] Stamp reported() const { return reported_; }

  std::map<std::string, std::vector<double>> phases;

 private:
  asio::any_io_executor executor() { return loop_.get_executor(); }
  cri::Awaitable<Result<pid_t>> pausePid(std::string sandboxId) {
    const auto status = co_await containerd_.runtime->sandboxStatus(std::move(sandboxId));
    if (!status) co_return tl::unexpected<Error>(status.error());
    co_return status->pausePid;
  }

  config::ConfigPtr config_;
  asio::io_context loop_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(loop_);
  telemetry::Log log_;
  telemetry::Metrics metrics_;
  cri::Connection containerd_;
  recovery::CachedBinaries binaries_;
  launcher::LocalLauncher launcher_;
  std::optional<recovery::Journal> journal_;
  std::optional<recovery::Services> services_;
  std::optional<recovery::Recoveries> recoveries_;
  cri::SandboxStatus status_;
  Stamp reported_;  // set on the thread, read by end()
  std::thread thread_;
};

Contender fallbackIn(Recoveries& recoveries, const Pod& pod, const char* name) {
  Contender fallback{.name = name, .ip = pod.ip, .port = Shop::kPort, .start = {}, .stop = {}};
  fallback.start = [&recoveries]() -> Result<> {
    recoveries.detected();
    return {};
  };
  fallback.stop = [&recoveries] { return recoveries.end(); };
  fallback.began = [&recoveries] { return recoveries.reported(); };
  return fallback;
}

Result<json::object> sideBySide(int rounds, std::string& why) {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  shop->daemon->kill();
  const auto loaded = config::load(shop->daemon->configFile());
  if (loaded.config == nullptr) return fail(Stage::config, Reason::invalid, loaded.diagnostics[0].toString());
  FB_TRY(const auto pod, shop->kubelet->startPod(checkoutPod("web-0")));
  Recoveries recoveries(loaded.config, {});
  FB_CHECK(recoveries.start(pod));
  // Most nodes have only v2 today. This machine has it beside v1, so both are measured.
  FB_TRY(auto unified, sys::cgroupHierarchies());
  std::erase_if(unified, [](const auto& hierarchy) { return !hierarchy.unified; });
  auto otherConfig = std::make_shared<config::Config>(*loaded.config);
  otherConfig->launcher.runDir += "-v2";
  FB_TRY(const auto otherPod, shop->kubelet->startPod(checkoutPod("web-1")));
  Recoveries onUnified(otherConfig, unified);
  if (!unified.empty()) FB_CHECK(onUnified.start(otherPod));
  const auto program = testProgram("shop-httpd-1.8.3");
  FB_TRY(auto runc, runcRun(program, makeRunDir("runc"), 8201));
  FB_TRY(auto ctr, ctrRun(*shop->node, program, 8202));
  std::vector<Contender> contenders{bareSpawn(program, 8200),
                                    fallbackIn(recoveries, pod, "fallback: trigger to accepted connection"),
                                    std::move(runc), std::move(ctr)};
  if (!unified.empty()) {
    contenders.push_back(fallbackIn(onUnified, otherPod, "fallback with a leaf in cgroup v2 alone"));
  }
  std::vector<Series> series;
  for (const auto& one : contenders) series.push_back({one.name, {}});
  // A different order in each round: a contender that always followed the same one would start from the
  // processor state that it leaves. This changes the times by a third.
  std::vector<std::size_t> turns(contenders.size());
  std::iota(turns.begin(), turns.end(), 0U);
  std::mt19937 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same orders in every run
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(turns.begin(), turns.end(), random);
    for (const std::size_t i : turns) {
      FB_TRY(const double millis, timeOnce(contenders[i]));
      series[i].millis.push_back(millis);
    }
  }
  printHead(std::to_string(rounds) + " interleaved rounds, start to accepted connection, ms");
  json::array rows;
  for (const auto& one : series) rows.push_back(report(one));
  for (const auto& [name, millis] : recoveries.phases) rows.push_back(report({"  of it: " + name, millis}));

  const auto over = [&](std::size_t row, double p) {
    return percentile(series[row].millis, p) / percentile(series[1].millis, p);
  };
  const double bare50 = 1 / over(0, 50);
  const double bare99 = 1 / over(0, 99);
  printFigure("fallback / posix_spawn at P50 (goal: at most 1.5)", bare50, "x");
  printFigure("fallback / posix_spawn at P99 (goal: at most 2)", bare99, "x");
  if (!unified.empty())
    printFigure("with a leaf in v2 alone / posix_spawn at P50", over(4, 50) / over(0, 50), "x");
  printFigure("runc run / fallback at P50 (goal: at least 5)", over(2, 50), "x");
  printFigure("ctr run / fallback at P50", over(3, 50), "x");
  const auto requireThat = [&](bool good, const char* what) {
    if (!good) why += (why.empty() ? "" : "; ") + std::string(what);
  };
  requireThat(bare50 <= kMaxOverBareP50, "P50 above 1.5 times posix_spawn's");
  requireThat(bare99 <= kMaxOverBareP99, "P99 above 2 times posix_spawn's");
  requireThat(over(2, 50) >= kMinSpeedupOverRunc, "less than 5 times faster than runc run");
  return json::object{{"series", std::move(rows)},
                      {"overSpawnP50", bare50},
                      {"overSpawnP99", bare99},
                      {"runcOverFallbackP50", over(2, 50)},
                      {"ctrOverFallbackP50", over(3, 50)}};
}

/// All pods exist before the configuration that covers them, so that the daemon gets them all at once.
Result<json::object> allAtOnce(int count, std::string& why) {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  auto nothing = shop->daemonOptions(shop->image());
  const auto everything = nothing;
  nothing.workloads.replace(nothing.workloads.find("app: checkout"), 13, "app: nothing");
  FB_CHECK(shop->daemon->rewriteConfig(nothing));
  FB_CHECK(shop->daemon->stop());
  FB_CHECK(shop->daemon->restart());
  std::vector<PodSpec> specs;
  for (int i = 0; i < count; ++i) specs.push_back(checkoutPod("web-" + std::to_string(i)));
  FB_TRY(const auto pods, startPods(*shop->kubelet, specs));
  FB_TRY(const auto before, usageOf(shop->daemon->pid()));

  const Stopwatch watch;
  FB_CHECK(shop->daemon->rewriteConfig(everything));
  Series accepted{"change of the configuration to accepted connection", {}};
  std::set<std::string> left;
  for (const auto& pod : pods) left.insert(pod.ip);
  waitUntil(kCeiling, [&] {
    std::erase_if(left, [&](const auto& ip) {
      if (!accepts(ip, Shop::kPort)) return false;
      accepted.millis.push_back(watch.millis());
      return true;
    });
    return left.empty();
  });
  const bool allReady = left.empty() && waitUntil(kCeiling, [&] {
                          const auto metrics = shop->daemon->metrics();
                          return metrics && sumOf(*metrics, "fallbackd_recovery_seconds_count") == count;
                        });
  const double all = watch.millis();
  FB_TRY(const auto usage, usageOf(shop->daemon->pid()));
  if (!allReady) {
    why += (why.empty() ? "" : "; ") + std::to_string(left.size()) + " of the concurrent launches not ready";
    return json::object{};
  }
  printHead(std::to_string(count) + " launches at once, ms");
  auto series = report(accepted);
  printFigure("until all are ready", all, "ms");
  printFigure("CPU of daemon and spawner", usage.cpuSeconds - before.cpuSeconds, "s");
  printFigure("their memory, peak", usage.peakMiB, "MiB");
  printFigure("their memory, peak before", before.peakMiB, "MiB");
  FB_CHECK(removePods(*shop->kubelet, pods));
  return json::object{{"accepted", std::move(series)},
                      {"allReadyMs", all},
                      {"cpuSeconds", usage.cpuSeconds - before.cpuSeconds},
                      {"peakMiB", usage.peakMiB},
                      {"peakBeforeMiB", before.peakMiB}};
}

int bench(int rounds, int pods) {
  std::string why;
  const auto alone = sideBySide(rounds, why);
  if (!alone) return conclude("launch", "side by side: " + alone.error().message(), {});
  std::fflush(stdout);
  const auto together = allAtOnce(pods, why);
  if (!together) return conclude("launch", "all at once: " + together.error().message(), {});
  return conclude("launch", why, {{"sideBySide", *alone}, {"allAtOnce", *together}});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 300;  // NOLINT(cert-err34-c): the user's own input
  const int pods = argc > 2 ? std::atoi(argv[2]) : 100;    // NOLINT(cert-err34-c)
  if (rounds < 1 || pods < 1) {
    std::fputs("usage: bench_launch [ROUNDS [PODS]]\n", stderr);
    return 2;
  }
  return fallbackd::e2e::runIsolated(argc, argv, [=] { return fallbackd::bench::bench(rounds, pods); });
}
