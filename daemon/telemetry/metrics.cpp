#include "telemetry/metrics.hpp"

#include <array>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace fallbackd::telemetry {

namespace {

// 1 ms to 5 min. Upper bounds are inclusive. Fine where our own part lies, coarse where kubelet's back-off
// does.
const prometheus::Histogram::BucketBoundaries kSeconds{
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15,
    0.23,  0.3,   0.5,   0.75,  1,      1.5,  2.3,   5,    10,   30,   60,    120, 300};

double seconds(Monotonic::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

prometheus::Family<prometheus::Counter>& counter(prometheus::Registry& registry, const char* name,
                                                 const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Gauge>& gauge(prometheus::Registry& registry, const char* name,
                                             const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Histogram>& histogram(prometheus::Registry& registry, const char* name,
                                                     const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

}  // namespace

std::string_view toString(Phase phase) {
  constexpr std::array<std::string_view, 7> kNames{"detect", "verify", "prepare", "health_check",
                                                   "exec",   "ready",  "total"};
  return kNames.at(static_cast<std::size_t>(phase));
}

struct Metrics::Families {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Histogram>& recoverySeconds =
      histogram(registry, "fallbackd_recovery_seconds",
                "Recovery time by phase; phase=total is the RTO, sandbox start to ready.");
  prometheus::Family<prometheus::Counter>& recoveries =
      counter(registry, "fallbackd_recoveries_total", "Recoveries that ended, by outcome.");
  prometheus::Family<prometheus::Gauge>& active =
      gauge(registry, "fallbackd_active_fallbacks", "Fallback processes that run now.");
  prometheus::Family<prometheus::Counter>& served =
      counter(registry, "fallbackd_fallback_seconds_total", "Time that fallbacks served, ended ones only.");
  prometheus::Family<prometheus::Counter>& exits =
      counter(registry, "fallbackd_fallback_exits_total", "Fallback processes that ended unasked, by kind.");
  prometheus::Family<prometheus::Histogram>& gap =
      histogram(registry, "fallbackd_hand_back_gap_seconds",
                "From the end of the fallback to the start of the real container's process.");
  prometheus::Family<prometheus::Counter>& probes = counter(
      registry, "fallbackd_probe_pulls_total", "Probe pulls by result: pulled, undecided or the cause.");
  prometheus::Family<prometheus::Gauge>& waiting = gauge(
      registry, "fallbackd_waiting_containers", "Containers of configured workloads that are not there yet.");
  prometheus::Family<prometheus::Gauge>& connected =
      gauge(registry, "fallbackd_containerd_connected",
            "1 while the event stream stands and the pod view is complete.");
  prometheus::Family<prometheus::Gauge>& sandboxImage =
      gauge(registry, "fallbackd_sandbox_image_present",
            "1 if the pause image is on the node, 0 if no pod can get a sandbox for want of it.");
  prometheus::Family<prometheus::Gauge>& circuits = gauge(
      registry, "fallbackd_registry_circuit_state",
      "What is known of a registry: 0 closed (it answers), 1 half open (being asked), 2 open (it fails).");
  prometheus::Family<prometheus::Counter>& calls =
      counter(registry, "fallbackd_containerd_calls_total", "Calls sent to containerd, by method.");
  prometheus::Family<prometheus::Counter>& connectionLosses = counter(
      registry, "fallbackd_containerd_connection_losses_total", "How often the event stream was lost.");
  prometheus::Family<prometheus::Counter>& admissions = counter(
      registry, "fallbackd_admissions_total", "Admissions of binaries by result: admitted or the reason.");
  prometheus::Family<prometheus::Gauge>& residentBytes =
      gauge(registry, "fallbackd_cache_resident_bytes", "Sealed copies of binaries that are held in memory.");
  prometheus::Family<prometheus::Gauge>& budgetBytes =
      gauge(registry, "fallbackd_cache_memory_budget_bytes", "What they may take, as configured.");
  prometheus::Family<prometheus::Counter>& hashedBytes =
      counter(registry, "fallbackd_cache_hashed_bytes_total",
              "Bytes that admissions read from the cache and hashed.");
  prometheus::Family<prometheus::Gauge>& admitted =
      gauge(registry, "fallbackd_workload_binary_admitted",
            "1 if the workload's binary is admitted, 0 if it is not.");
  prometheus::Family<prometheus::Counter>& reloads =
      counter(registry, "fallbackd_config_loads_total", "Times the configuration was read, by result.");
  prometheus::Family<prometheus::Gauge>& reloadOk =
      gauge(registry, "fallbackd_config_last_load_successful",
            "1 if the configuration on disk is the one in use, else 0.");
  prometheus::Family<prometheus::Counter>& spawnerRestarts = counter(
      registry, "fallbackd_spawner_restarts_total", "Times the spawner process had to be started again.");
  prometheus::Family<prometheus::Gauge>& build =
      gauge(registry, "fallbackd_build_info", "Always 1; the version is in the label.");

  std::mutex circuitMutex;
  std::map<std::string, prometheus::Gauge*> circuitOf;
  std::mutex coverageMutex;
  std::set<prometheus::Gauge*> coverage;
};

Metrics::Metrics(std::string_view version) : families_(std::make_unique<Families>()) {
  families_->build.Add({{"version", std::string(version)}}).Set(1);
  // A series that is there from the start can be told from one that is missing.
  families_->waiting.Add({}).Set(0);
  families_->connected.Add({}).Set(0);
  families_->connectionLosses.Add({});
  families_->spawnerRestarts.Add({});
  for (const auto name : causeNames()) families_->probes.Add({{"result", std::string(name)}});
}

Metrics::~Metrics() = default;

void Metrics::phase(const std::string& workload, Cause cause, Phase phase, Monotonic::duration duration) {
  families_->recoverySeconds
      .Add({{"workload", workload},
            {"cause", std::string(toString(cause))},
            {"phase", std::string(toString(phase))}},
           kSeconds)
      .Observe(seconds(duration));
}

void Metrics::recoveryEnded(const std::string& workload, Cause cause, std::string_view outcome,
                            std::string_view stage, std::string_view reason) {
  families_->recoveries
      .Add({{"workload", workload},
            {"cause", std::string(toString(cause))},
            {"outcome", std::string(outcome)},
            {"stage", std::string(stage)},
            {"reason", std::string(reason)}})
      .Increment();
}

void Metrics::activeFallbacks(const std::string& workload, int change) {
  families_->active.Add({{"workload", workload}}).Increment(change);
}

void Metrics::fallbackTime(const std::string& workload, Monotonic::duration served) {
  families_->served.Add({{"workload", workload}}).Increment(seconds(served));
}

void Metrics::fallbackExit(const std::string& workload, std::string_view kind) {
  families_->exits.Add({{"workload", workload}, {"kind", std::string(kind)}}).Increment();
}

void Metrics::handBackGap(const std::string& workload, Monotonic::duration gap) {
  families_->gap.Add({{"workload", workload}}, kSeconds).Observe(seconds(gap));
}

void Metrics::probe(std::string_view result) {
  families_->probes.Add({{"result", std::string(result)}}).Increment();
}

void Metrics::waitingContainers(std::size_t count) {
  families_->waiting.Add({}).Set(static_cast<double>(count));
}

void Metrics::sandboxImagePresent(bool present) {
  families_->sandboxImage.Add({}).Set(present ? 1 : 0);
}

void Metrics::registryCircuits(const std::map<std::string, int>& states) {
  const std::lock_guard lock(families_->circuitMutex);
  for (auto& [host, series] : families_->circuitOf) {
    if (!states.contains(host)) families_->circuits.Remove(std::exchange(series, nullptr));
  }
  std::erase_if(families_->circuitOf, [](const auto& one) { return one.second == nullptr; });
  for (const auto& [host, state] : states) {
    auto& series = families_->circuits.Add({{"host", host}});
    series.Set(state);
    families_->circuitOf[host] = &series;
  }
}

void Metrics::containerdCalls(const std::map<std::string, std::uint64_t>& totals) {
  for (const auto& [method, total] : totals) {
    auto& series = families_->calls.Add({{"method", method}});
    series.Increment(static_cast<double>(total) - series.Value());
  }
}

void Metrics::containerdConnected(bool connected) {
  auto& now = families_->connected.Add({});
  if (!connected && now.Value() > 0) families_->connectionLosses.Add({}).Increment();
  now.Set(connected ? 1 : 0);
}

void Metrics::admission(std::string_view result) {
  families_->admissions.Add({{"result", std::string(result)}}).Increment();
}

void Metrics::coverage(const std::string& workload, const std::string& binary, bool admitted) {
  auto& now = families_->admitted.Add({{"workload", workload}, {"binary", binary}});
  now.Set(admitted ? 1 : 0);
  const std::lock_guard lock(families_->coverageMutex);
  families_->coverage.insert(&now);
}

void Metrics::clearCoverage() {
  const std::lock_guard lock(families_->coverageMutex);
  for (auto* series : families_->coverage) families_->admitted.Remove(series);
  families_->coverage.clear();
}

void Metrics::cacheUsage(std::uint64_t residentBytes, std::uint64_t budgetBytes, std::uint64_t hashedBytes) {
  families_->residentBytes.Add({}).Set(static_cast<double>(residentBytes));
  families_->budgetBytes.Add({}).Set(static_cast<double>(budgetBytes));
  auto& hashed = families_->hashedBytes.Add({});
  hashed.Increment(static_cast<double>(hashedBytes) - hashed.Value());
}

void Metrics::configLoaded(bool successful) {
  families_->reloads.Add({{"result", successful ? "ok" : "refused"}}).Increment();
  families_->reloadOk.Add({}).Set(successful ? 1 : 0);
}

void Metrics::spawnerRestarted() {
  families_->spawnerRestarts.Add({}).Increment();
}

std::string Metrics::serialize() const {
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

}  // namespace fallbackd::telemetry
