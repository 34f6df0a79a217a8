// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics.hpp"

#include "domain/image_reference.hpp"
#include "telemetry/exposition.hpp"
#include "telemetry/metrics/families.hpp"
#include "telemetry/process_usage.hpp"

#include <array>
#include <mutex>
#include <utility>

namespace fallbackd::telemetry {

namespace {

using Labels = std::map<std::string, std::string>;

double seconds(Monotonic::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double unixTime(Wall::time_point when) {
  return std::chrono::duration<double>(when.time_since_epoch()).count();
}

Exemplar exemplarOf(const std::string& recovery, double value) {
  return {recovery, value, unixTime(Clock::system().wall())};
}

/// A counter whose total is kept elsewhere.
void raiseTo(prometheus::Counter& counter, double total) {
  counter.Increment(total - counter.Value());
}

constexpr std::array kCoverageStates{CoverageState::admitted, CoverageState::grace, CoverageState::expired,
                                     CoverageState::missing, CoverageState::refused};

/// The series of one family that are replaced together.
class ReplacedSeries {
 public:
  explicit ReplacedSeries(prometheus::Family<prometheus::Gauge>& family) : family_(family) {}

  void set(const Labels& labels, double value) {
    auto& series = family_.Add(labels);
    series.Set(value);
    fresh_[labels] = &series;
  }
  /// Removes what was not set since the last time.
  void replaced() {
    for (const auto& [labels, series] : current_) {
      if (!fresh_.contains(labels)) family_.Remove(series);
    }
    current_ = std::exchange(fresh_, {});
  }

 private:
  prometheus::Family<prometheus::Gauge>& family_;
  std::map<Labels, prometheus::Gauge*> current_;
  std::map<Labels, prometheus::Gauge*> fresh_;
};

}  // namespace

std::string_view toString(Phase phase) {
  constexpr std::array<std::string_view, 7> kNames{"detect", "verify", "prepare", "health_check",
                                                   "exec",   "ready",  "total"};
  return kNames.at(static_cast<std::size_t>(phase));
}

std::string_view toString(CoverageState state) {
  constexpr std::array<std::string_view, 5> kNames{"admitted", "grace", "expired", "missing", "refused"};
  return kNames.at(static_cast<std::size_t>(state));
}

struct Metrics::State : MetricFamilies {
  std::vector<prometheus::MetricFamily> collect();

  // Guards the following, and lets a scrape see a replacement only as a whole.
  std::mutex mutex;
  Exemplars exemplars;
  ReplacedSeries circuitsNow{circuits};
  ReplacedSeries workloadsNow{workloads};
  ReplacedSeries admittedNow{admitted};
  ReplacedSeries coverageNow{coverage};
  ReplacedSeries expiryNow{expiry};
  ReplacedSeries imageSkewNow{imageSkew};
  ReplacedSeries containersNow{containers};
  struct Serving {
    std::string workload;
    Stamp since;
  };
  std::map<std::string, Serving> serving;  // by recovery id
};

Metrics::Metrics(std::string_view version) : state_(std::make_unique<State>()) {
  state_->build.Add({{"version", std::string(version)}}).Set(1);
  // A series that exists from the start can be told from a missing one.
  state_->waiting.Add({}).Set(0);
  state_->connected.Add({}).Set(0);
  state_->connectionLosses.Add({});
  state_->spawnerRestarts.Add({});
  state_->workers.Add({}).Set(0);
  state_->workersStuck.Add({}).Set(0);
  state_->loopStalls.Add({});
  state_->loopStalled.Add({});
  state_->journalEntries.Add({}).Set(0);
  state_->journalDamaged.Add({}).Set(0);
  for (const char* result : {"ok", "refused"}) state_->reloads.Add({{"result", result}});
  for (const char* operation : {"write", "remove"}) {
    for (const char* result : {"ok", "failed"}) {
      state_->journalOperations.Add({{"operation", operation}, {"result", result}});
    }
  }
  for (const char* result : {"adopted", "gone"}) state_->adoptions.Add({{"result", result}});
  for (const char* result : {"pulled", "undecided"}) state_->probes.Add({{"result", result}});
  for (const auto name : causeNames()) state_->probes.Add({{"result", std::string(name)}});
  state_->admissions.Add({{"result", "admitted"}});
}

Metrics::~Metrics() = default;

void Metrics::configured(const config::Config& config) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& workload : config.workloads) {
    const std::string& name = workload.name;
    const Labels ofWorkload{{"workload", name}};
    state_->active.Add(ofWorkload);
    state_->served.Add(ofWorkload);
    for (const char* kind : {"exited", "signaled", "oom_killed", "unknown"}) {
      state_->exits.Add({{"workload", name}, {"kind", kind}});
    }
    for (const auto cause : workload.detection.triggers) {
      state_->begun.Add({{"workload", name}, {"cause", std::string(toString(cause))}});
    }
    state_->workloadsNow.set({{"workload", name},
                              {"workload_namespace", workload.match.namespaceName.value_or("")},
                              {"binary", workload.binary.toString()},
                              {"image", workload.image}},
                             1);
    const auto image = ImageReference::parse(workload.image);
    const auto same = image ? sameVersion(image->tag(), workload.binary.version) : std::nullopt;
    if (same) state_->imageSkewNow.set(ofWorkload, *same ? 0 : 1);
  }
  state_->workloadsNow.replaced();
  state_->imageSkewNow.replaced();
}

void Metrics::recoveryBegun(const std::string& workload, Cause cause) {
  const std::string name(toString(cause));
  state_->begun.Add({{"workload", workload}, {"cause", name}}).Increment();
  // Its most likely end exists as a series before it ends.
  for (const char* outcome : {"handed_back", "pod_gone"}) {
    state_->recoveries.Add({{"workload", workload},
                            {"cause", name},
                            {"outcome", outcome},
                            {"stage", std::string()},
                            {"reason", std::string()}});
  }
}

void Metrics::phase(const std::string& workload, Cause cause, Phase phase, Monotonic::duration duration,
                    const std::string& recovery) {
  const Labels labels{{"workload", workload},
                      {"cause", std::string(toString(cause))},
                      {"phase", std::string(toString(phase))}};
  const double value = seconds(duration);
  const std::lock_guard lock(state_->mutex);
  state_->recoverySeconds.Add(labels, secondsBuckets()).Observe(value);
  state_->exemplars.observed(state_->recoverySeconds.GetName(), labels, secondsBuckets(),
                             exemplarOf(recovery, value));
}

void Metrics::recoveryEnded(const std::string& workload, Cause cause, std::string_view outcome,
                            std::string_view stage, std::string_view reason, const std::string& recovery) {
  const Labels labels{{"workload", workload},
                      {"cause", std::string(toString(cause))},
                      {"outcome", std::string(outcome)},
                      {"stage", std::string(stage)},
                      {"reason", std::string(reason)}};
  const std::lock_guard lock(state_->mutex);
  state_->recoveries.Add(labels).Increment();
  state_->exemplars.counted(state_->recoveries.GetName(), labels, exemplarOf(recovery, 1));
}

void Metrics::activeFallbacks(const std::string& workload, int change) {
  state_->active.Add({{"workload", workload}}).Increment(change);
}

void Metrics::fallbackServes(const std::string& workload, const std::string& recovery, Stamp since) {
  const std::lock_guard lock(state_->mutex);
  state_->served.Add({{"workload", workload}});
  state_->serving[recovery] = {workload, since};
}

void Metrics::fallbackServed(const std::string& workload, const std::string& recovery, Stamp until) {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->serving.find(recovery);
  if (found == state_->serving.end()) return;
  state_->served.Add({{"workload", workload}}).Increment(seconds(until - found->second.since));
  state_->serving.erase(found);
}

void Metrics::fallbackExit(const std::string& workload, std::string_view kind) {
  state_->exits.Add({{"workload", workload}, {"kind", std::string(kind)}}).Increment();
}

void Metrics::handBackGap(const std::string& workload, Monotonic::duration gap, const std::string& recovery) {
  const Labels labels{{"workload", workload}};
  const double value = seconds(gap);
  const std::lock_guard lock(state_->mutex);
  state_->gap.Add(labels, secondsBuckets()).Observe(value);
  state_->exemplars.observed(state_->gap.GetName(), labels, secondsBuckets(), exemplarOf(recovery, value));
}

void Metrics::adoption(bool adopted) {
  state_->adoptions.Add({{"result", adopted ? "adopted" : "gone"}}).Increment();
}

void Metrics::probe(std::string_view result) {
  state_->probes.Add({{"result", std::string(result)}}).Increment();
}

void Metrics::notStarted(const std::map<std::string_view, std::size_t>& counts) {
  for (const auto& [heldUpBy, count] : counts) {
    state_->notStarted.Add({{"held_up_by", std::string(heldUpBy)}}).Set(static_cast<double>(count));
  }
}

void Metrics::waitingContainers(std::size_t count) {
  state_->waiting.Add({}).Set(static_cast<double>(count));
}

void Metrics::sandboxImagePresent(bool present) {
  state_->sandboxImage.Add({}).Set(present ? 1 : 0);
}

void Metrics::registryCircuits(const std::map<std::string, int>& states) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& [host, state] : states) state_->circuitsNow.set({{"host", host}}, state);
  state_->circuitsNow.replaced();
}

void Metrics::containerdCalls(const std::map<std::string, std::uint64_t>& totals) {
  for (const auto& [method, total] : totals) {
    raiseTo(state_->calls.Add({{"method", method}}), static_cast<double>(total));
  }
}

void Metrics::containerdConnected(bool connected) {
  auto& now = state_->connected.Add({});
  if (!connected && now.Value() > 0) state_->connectionLosses.Add({}).Increment();
  now.Set(connected ? 1 : 0);
}

void Metrics::admission(std::string_view result) {
  state_->admissions.Add({{"result", std::string(result)}}).Increment();
}

void Metrics::coverage(const std::vector<Coverage>& all) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& one : all) {
    state_->admittedNow.set({{"workload", one.workload}, {"binary", one.binary}}, one.serves ? 1 : 0);
    for (const auto state : kCoverageStates) {
      state_->coverageNow.set({{"workload", one.workload}, {"state", std::string(toString(state))}},
                              state == one.state ? 1 : 0);
    }
    if (one.expires) state_->expiryNow.set({{"workload", one.workload}}, unixTime(*one.expires));
  }
  state_->admittedNow.replaced();
  state_->coverageNow.replaced();
  state_->expiryNow.replaced();
}

void Metrics::runningContainers(const std::map<std::string, VersionSkew>& all) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& [workload, skew] : all) {
    const auto set = [&](const char* version, std::size_t count) {
      state_->containersNow.set({{"workload", workload}, {"version", version}}, static_cast<double>(count));
    };
    set("same", skew.same);
    set("other", skew.other);
    set("unknown", skew.unknown);
  }
  state_->containersNow.replaced();
}

void Metrics::graceUsed(const std::string& binary) {
  state_->graceUses.Add({{"binary", binary}}).Increment();
}

void Metrics::cacheUsage(std::uint64_t residentBytes, std::uint64_t budgetBytes, std::uint64_t hashedBytes) {
  state_->residentBytes.Add({}).Set(static_cast<double>(residentBytes));
  state_->budgetBytes.Add({}).Set(static_cast<double>(budgetBytes));
  raiseTo(state_->hashedBytes.Add({}), static_cast<double>(hashedBytes));
}

void Metrics::configLoaded(bool successful) {
  state_->reloads.Add({{"result", successful ? "ok" : "refused"}}).Increment();
  state_->reloadOk.Add({}).Set(successful ? 1 : 0);
  if (successful) state_->reloadTime.Add({}).Set(unixTime(Clock::system().wall()));
}

void Metrics::journalWritten(bool successful, std::size_t entries) {
  state_->journalOperations.Add({{"operation", "write"}, {"result", successful ? "ok" : "failed"}})
      .Increment();
  state_->journalEntries.Add({}).Set(static_cast<double>(entries));
}

void Metrics::journalRemoved(bool successful, std::size_t entries) {
  state_->journalOperations.Add({{"operation", "remove"}, {"result", successful ? "ok" : "failed"}})
      .Increment();
  state_->journalEntries.Add({}).Set(static_cast<double>(entries));
}

void Metrics::journalRead(std::size_t entries, std::size_t damaged) {
  state_->journalEntries.Add({}).Set(static_cast<double>(entries));
  state_->journalDamaged.Add({}).Set(static_cast<double>(damaged));
}

void Metrics::spawnerRestarts(unsigned total) {
  raiseTo(state_->spawnerRestarts.Add({}), total);
}

void Metrics::workerUsage(const WorkerUsage& usage) {
  state_->workers.Add({}).Set(static_cast<double>(usage.workers));
  state_->workersStuck.Add({}).Set(static_cast<double>(usage.stuck));
  for (const auto& [work, total] : usage.missed) {
    raiseTo(state_->workerMissed.Add({{"work", work}}), static_cast<double>(total));
  }
  for (const auto& [work, total] : usage.refused) {
    raiseTo(state_->workerRefused.Add({{"work", work}}), static_cast<double>(total));
  }
}

void Metrics::credentialProviders(const CredentialProviderRuns& runs) {
  for (const auto& [result, total] : runs.ended) {
    raiseTo(state_->providerRuns.Add({{"result", result}}), static_cast<double>(total));
  }
  raiseTo(state_->providersNotWaitedFor.Add({}), static_cast<double>(runs.notWaitedFor));
}

void Metrics::loopStalled() {
  state_->loopStalls.Add({}).Increment();
}

void Metrics::loopTurnsAgain(Monotonic::duration after) {
  state_->loopStalled.Add({}).Increment(seconds(after));
}

/// Adds values that are computed on request. Under the mutex.
std::vector<prometheus::MetricFamily> Metrics::State::collect() {
  if (const auto usage = processUsage()) {
    raiseTo(processCpu.Add({}), usage->cpuSeconds);
    processStart.Add({}).Set(usage->startTime);
    processResident.Add({}).Set(usage->residentBytes);
    processVirtual.Add({}).Set(usage->virtualBytes);
    processThreads.Add({}).Set(usage->threads);
    processFds.Add({}).Set(usage->openFds);
    processMaxFds.Add({}).Set(usage->maxFds);
  }
  std::map<std::string, double> stillServing;
  const auto now = Clock::system().now();
  for (const auto& [recovery, one] : serving) stillServing[one.workload] += seconds(now - one.since);
  auto families = registry.Collect();
  for (auto& family : families) {
    if (family.name != served.GetName()) continue;
    for (auto& metric : family.metric) {
      const auto found = stillServing.find(metric.label.front().value);
      if (found != stillServing.end()) metric.counter.value += found->second;
    }
  }
  return families;
}

std::string Metrics::serialize() const {
  const std::lock_guard lock(state_->mutex);
  return expose(state_->collect(), Format::text, state_->exemplars);
}

std::string Metrics::serializeOpenMetrics() const {
  const std::lock_guard lock(state_->mutex);
  return expose(state_->collect(), Format::open_metrics, state_->exemplars);
}

const std::vector<MetricDescription>& Metrics::descriptions() const {
  return state_->described;
}

std::string metricsPage(const std::vector<MetricDescription>& metrics) {
  std::map<std::string, std::map<std::string, int>> meanings;  // label -> what it means -> how often
  for (const auto& metric : metrics) {
    for (const auto& label : metric.labels) ++meanings[label.name][label.values];
  }
  // A meaning shared by several metrics is listed once.
  const auto shared = [&](const MetricDescription::Label& label) {
    const auto& of = meanings.at(label.name);
    return of.size() == 1 && of.begin()->second > 1;
  };
  std::string page =
      "# Metrics of fallbackd\n\n"
      "Generated by `fallbackd --print-metrics`; a test fails if page and code differ. Names and labels are\n"
      "stable, units are seconds and bytes. `/metrics` serves the Prometheus text format and, on request,\n"
      "OpenMetrics, in which the buckets of recoveries and the counters of their outcomes carry exemplars\n"
      "`{recovery=\"ID\"}`: the id in the log lines and in `fallbackctl status`. Labels of the scrape, such "
      "as\n"
      "`cluster` and `node`, come from Prometheus ([scrape.yml](prometheus/scrape.yml)).\n\n"
      "| metric | type | meaning | labels |\n| --- | --- | --- | --- |\n";
  std::map<std::string, std::string> told;
  for (const auto& metric : metrics) {
    std::string labels;
    for (const auto& label : metric.labels) {
      labels.append(labels.empty() ? "" : "<br>").append("`").append(label.name).append("`");
      if (shared(label)) {
        told[label.name] = label.values;
      } else {
        labels.append(": ").append(label.values);
      }
    }
    page.append("| `").append(metric.name).append("` | ").append(metric.type).append(" | ");
    page.append(metric.help).append(" | ").append(labels).append(" |\n");
  }
  page.append("\n| label | values |\n| --- | --- |\n");
  for (const auto& [name, values] : told) {
    page.append("| `").append(name).append("` | ").append(values).append(" |\n");
  }
  return page;
}

}  // namespace fallbackd::telemetry
