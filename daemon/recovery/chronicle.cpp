// SPDX-License-Identifier: Apache-2.0
#include "recovery/chronicle.hpp"

#include "base/async/backoff.hpp"
#include "base/async/pause.hpp"
#include "base/strings.hpp"

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

namespace fallbackd::recovery {

using namespace std::chrono_literals;
using config::LogLevel;
using telemetry::ExitKind;
using telemetry::Phase;
using telemetry::RecoveryOutcome;

namespace {

constexpr auto kFirstRewrite = 1s;
constexpr auto kLastRewrite = 30s;

ExitKind kindOf(const launcher::ExitStatus& status) {
  using Kind = launcher::ExitStatus::Kind;
  if (status.oomKilled) return ExitKind::oom_killed;
  if (status.kind == Kind::exited) return ExitKind::exited;
  return status.kind == Kind::signaled ? ExitKind::signaled : ExitKind::unknown;
}

/// For a recovery that is over.
RecoveryOutcome measuredAs(State end) {
  constexpr std::array kOutcomes{RecoveryOutcome::handed_back, RecoveryOutcome::completed,
                                 RecoveryOutcome::pod_gone, RecoveryOutcome::withdrawn,
                                 RecoveryOutcome::failed};
  constexpr auto kFirst = static_cast<std::size_t>(State::handed_back);
  static_assert(static_cast<std::size_t>(State::failed) - kFirst + 1 == kOutcomes.size());
  return kOutcomes.at(static_cast<std::size_t>(end) - kFirst);
}

}  // namespace

Chronicle::Chronicle(Journal& journal, telemetry::RecoveryMetrics& metrics, telemetry::Log& log,
                     const Clock& clock, const Incident& incident, std::optional<PodFacts> pod,
                     PodEvents* events)
    : journal_(journal),
      metrics_(metrics),
      log_(log),
      clock_(clock),
      incident_(incident),
      pod_(std::move(pod)),
      events_(events) {}

void Chronicle::tell(PodEvent event) {
  if (events_ != nullptr) events_->tell(incident_.target, std::move(event));
}

void Chronicle::log(LogLevel level, std::string_view message, Naming naming, telemetry::Fields fields) {
  std::vector<telemetry::Field> all{{"recovery", incident_.id}};
  if (naming == Naming::with_namespace) all.emplace_back("namespace", incident_.target.podNamespace);
  all.emplace_back("pod", incident_.target.podName);
  all.emplace_back("container", incident_.target.container);
  all.insert(all.end(), fields.begin(), fields.end());
  log_.write(level, message, all);
}

void Chronicle::detected() {
  metrics_.begun(incident_.workload, incident_.cause);
  log(LogLevel::info, "recovery detected", Naming::with_namespace,
      {{"workload", incident_.workload},
       {"binary", incident_.binary.toString()},
       {"cause", toString(incident_.cause)},
       {"text", incident_.causeText}});
  // A verdict that took no time was there before: it is about another pod's pull.
  const auto learnt =
      incident_.verdictTook.count() == 0 ? Wait::Learnt::from_another : Wait::Learnt::from_this_pod;
  tell(waits({incident_.cause, incident_.causeText, learnt}, incident_.binary));
}

void Chronicle::adopted(const launcher::ProcessRecord& process, Stamp at) {
  active_.emplace(metrics_, incident_.workload);
  if (incident_.state == State::ready) serves(at);
  record(process);
  log(LogLevel::info, "recovery adopted", Naming::with_namespace,
      {{"address", incident_.address}, {"pid", incident_.pid}});
}

void Chronicle::forgotten(const std::string& why) {
  log_.info("did not keep a fallback of an earlier daemon", {{"recovery", incident_.id}, {"why", why}});
  static_cast<void>(journal_.remove(incident_.id));
  metrics_.adoption(telemetry::AdoptionResult::gone);
}

void Chronicle::endedUnseen() {
  log(LogLevel::warn, "fallback of an earlier daemon ended unseen and is not run again",
      Naming::without_namespace, {});
  static_cast<void>(writeEnd());  // the entry of the process is still there
  if (auto event = recovery::ended(incident_)) tell(std::move(*event));
  metrics_.adoption(telemetry::AdoptionResult::gone);
}

void Chronicle::reached(Stamp at) {
  log(LogLevel::info, "recovery " + std::string(toString(incident_.state)), Naming::with_namespace,
      {{"workload", incident_.workload},
       {"binary", incident_.binary.toString()},
       {"cause", toString(incident_.cause)},
       {"address", incident_.address},
       {"pid", incident_.pid},
       {"sinceWaitingMs", toMillis(at - incident_.stamps.waitingSince)}});
  if (incident_.state == State::ready) tell(serving(incident_));
}

void Chronicle::inheritsNot(const std::vector<std::string>& what) {
  if (std::exchange(toldInherited_, true)) return;
  log(LogLevel::info, "the fallback lacks some of what its container would have", Naming::without_namespace,
      {{"what", join(what, "; ")}});
}

void Chronicle::launched(const std::vector<std::string>& notes) {
  for (const auto& note : notes) {
    log(LogLevel::warn, "fallback is running with limitations", Naming::without_namespace, {{"what", note}});
  }
  active_.emplace(metrics_, incident_.workload);
}

void Chronicle::measureLaunch() {
  const auto& stamps = incident_.stamps;
  const auto phase = [&](Phase name, Monotonic::duration duration) {
    metrics_.phase(incident_.workload, incident_.cause, name, duration, incident_.id);
  };
  phase(Phase::detect, stamps.detected - stamps.waitingSince);
  phase(Phase::verify, *stamps.verified - stamps.detected);
  phase(Phase::prepare, *stamps.prepared - *stamps.verified);
  phase(Phase::health_check, *stamps.healthChecked - *stamps.prepared);
  phase(Phase::exec, *stamps.started - *stamps.healthChecked);
}

void Chronicle::measureReady() {
  const auto& stamps = incident_.stamps;
  metrics_.phase(incident_.workload, incident_.cause, Phase::ready, *stamps.ready - *stamps.started,
                 incident_.id);
  metrics_.phase(incident_.workload, incident_.cause, Phase::total, *stamps.ready - stamps.waitingSince,
                 incident_.id);
}

void Chronicle::serves(Stamp since) {
  serving_.emplace(metrics_, clock_, incident_.workload, incident_.id, since);
}

void Chronicle::servesNoMore() {
  serving_.reset();
}

void Chronicle::exited(const launcher::ExitStatus& status) {
  metrics_.fallbackExit(incident_.workload, kindOf(status));
  active_.reset();
  log(LogLevel::warn, "fallback exited unexpectedly", Naming::without_namespace,
      {{"pid", incident_.pid}, {"status", status.toString()}, {"restarts", incident_.restarts}});
  tell(recovery::exited(incident_, status));
}

void Chronicle::stopped() {
  servesNoMore();
  active_.reset();
}

void Chronicle::livenessFailed(unsigned failures, unsigned limit, const Error& error) {
  log(LogLevel::warn, "the fallback fails its liveness check", Naming::without_namespace,
      {{"failures", failures}, {"of", limit}, {"error", error.message()}});
  if (failures == limit) tell(unhealthy(incident_, failures, error));
}

void Chronicle::cannotBeProbed(const Error& error) {
  log(LogLevel::error, "the fallback cannot be probed; it keeps running", Naming::without_namespace,
      {{"error", error.message()}});
}

void Chronicle::cannotBeLaunched(const Error& error) {
  log(LogLevel::warn, "the fallback cannot be launched at present; will retry", Naming::without_namespace,
      {{"error", error.message()}});
}

void Chronicle::ended(Stamp at) {
  servesNoMore();
  const auto measure = [&](std::optional<telemetry::RecoveryFailure> failure) {
    metrics_.ended(incident_.workload, incident_.cause, measuredAs(incident_.state), incident_.id, failure);
  };
  if (incident_.state == State::failed) {
    const auto& error = *incident_.error;
    measure(telemetry::RecoveryFailure{error.stage, error.reason});
    log(LogLevel::error, "recovery failed", Naming::with_namespace,
        {{"workload", incident_.workload},
         {"binary", incident_.binary.toString()},
         {"stage", toString(error.stage)},
         {"reason", toString(error.reason)},
         {"error", error.message()}});
  } else {
    reached(at);
    measure(std::nullopt);
  }
  if (auto event = recovery::ended(incident_)) tell(std::move(*event));
  close();
}

void Chronicle::record(const launcher::ProcessRecord& process) {
  process_ = process;
  write();
}

void Chronicle::write() {
  const auto written = journal_.write({incident_, process_, pod_});
  const bool saidBefore = std::exchange(writeFails_, !written.has_value());
  recorded_ = written.has_value();
  if (!written && !saidBefore) {
    log_.error(
        "the journal entry could not be written; after a restart the daemon has to find this fallback "
        "through its cgroup",
        {{"recovery", incident_.id}, {"error", written.error().message()}});
  }
}

boost::asio::awaitable<void> Chronicle::keepRecorded() {
  Backoff pause({kFirstRewrite, kLastRewrite});
  while (!recorded_) {
    co_await pause.wait();
    write();
  }
  co_await untilCancelled();
}

/// An entry without a process: it only keeps the next daemon from running the fallback again.
Result<> Chronicle::writeEnd() {
  return journal_.write({incident_, {}, pod_});
}

void Chronicle::recordEnd() {
  const auto written = writeEnd();
  const bool saidBefore = std::exchange(endUnrecorded_, !written.has_value());
  if (written || saidBefore) return;
  log_.error("journal not written; until it is, a restart of the daemon may run this fallback again",
             {{"recovery", incident_.id}, {"error", written.error().message()}});
}

void Chronicle::close() {
  if (incident_.neverAgain) return recordEnd();
  const auto removed = journal_.remove(incident_.id);
  if (!removed) log_.error("journal", {{"recovery", incident_.id}, {"error", removed.error().message()}});
}

}  // namespace fallbackd::recovery
