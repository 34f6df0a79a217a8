// SPDX-License-Identifier: Apache-2.0
#include "recovery/chronicle.hpp"

#include "base/async/backoff.hpp"
#include "base/async/pause.hpp"

#include <chrono>
#include <string_view>
#include <utility>

namespace fallbackd::recovery {

using namespace std::chrono_literals;
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

/// Of a recovery that is over.
RecoveryOutcome measuredAs(State end) {
  switch (end) {
    case State::handed_back:
      return RecoveryOutcome::handed_back;
    case State::completed:
      return RecoveryOutcome::completed;
    case State::pod_gone:
      return RecoveryOutcome::pod_gone;
    case State::withdrawn:
      return RecoveryOutcome::withdrawn;
    default:
      return RecoveryOutcome::failed;
  }
}

}  // namespace

Chronicle::Chronicle(Journal& journal, telemetry::RecoveryMetrics& metrics, telemetry::Log& log,
                     const Clock& clock, const Incident& incident, std::optional<PodFacts> pod)
    : journal_(journal),
      metrics_(metrics),
      log_(log),
      clock_(clock),
      incident_(incident),
      pod_(std::move(pod)) {}

void Chronicle::detected() {
  metrics_.begun(incident_.workload, incident_.cause);
  log_.info("recovery detected", {{"recovery", incident_.id},
                                  {"namespace", incident_.target.podNamespace},
                                  {"pod", incident_.target.podName},
                                  {"container", incident_.target.container},
                                  {"workload", incident_.workload},
                                  {"binary", incident_.binary.toString()},
                                  {"cause", toString(incident_.cause)},
                                  {"text", incident_.causeText}});
}

void Chronicle::adopted(const launcher::ProcessRecord& process, Stamp at) {
  active_.emplace(metrics_, incident_.workload);
  if (incident_.state == State::ready) serves(at);
  record(process);
  log_.info("recovery adopted", {{"recovery", incident_.id},
                                 {"namespace", incident_.target.podNamespace},
                                 {"pod", incident_.target.podName},
                                 {"container", incident_.target.container},
                                 {"address", incident_.address},
                                 {"pid", incident_.pid}});
}

void Chronicle::forgotten(const std::string& why) {
  log_.info("did not keep a fallback of an earlier daemon", {{"recovery", incident_.id}, {"why", why}});
  static_cast<void>(journal_.remove(incident_.id));
  metrics_.adoption(telemetry::AdoptionResult::gone);
}

void Chronicle::endedUnseen() {
  log_.warn("fallback of an earlier daemon ended unseen and is not run again",
            {{"recovery", incident_.id},
             {"pod", incident_.target.podName},
             {"container", incident_.target.container}});
  static_cast<void>(writeEnd());  // the entry of the process is still there
  metrics_.adoption(telemetry::AdoptionResult::gone);
}

void Chronicle::reached(Stamp at) {
  log_.info("recovery " + std::string(toString(incident_.state)),
            {{"recovery", incident_.id},
             {"namespace", incident_.target.podNamespace},
             {"pod", incident_.target.podName},
             {"container", incident_.target.container},
             {"workload", incident_.workload},
             {"binary", incident_.binary.toString()},
             {"cause", toString(incident_.cause)},
             {"address", incident_.address},
             {"pid", incident_.pid},
             {"sinceWaitingMs", toMillis(at - incident_.stamps.waitingSince)}});
}

void Chronicle::launched(const std::vector<std::string>& notes) {
  for (const auto& note : notes) {
    log_.warn("fallback is running with limitations", {{"recovery", incident_.id},
                                                       {"pod", incident_.target.podName},
                                                       {"container", incident_.target.container},
                                                       {"what", note}});
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
  log_.warn("fallback exited unexpectedly", {{"recovery", incident_.id},
                                             {"pod", incident_.target.podName},
                                             {"container", incident_.target.container},
                                             {"pid", incident_.pid},
                                             {"status", status.toString()},
                                             {"restarts", incident_.restarts}});
}

void Chronicle::stopped() {
  active_.reset();
}

void Chronicle::livenessFailed(unsigned failures, unsigned limit, const Error& error) {
  log_.warn("the fallback fails its liveness check", {{"recovery", incident_.id},
                                                      {"pod", incident_.target.podName},
                                                      {"container", incident_.target.container},
                                                      {"failures", failures},
                                                      {"of", limit},
                                                      {"error", error.message()}});
}

void Chronicle::cannotBeProbed(const Error& error) {
  log_.error("the fallback cannot be probed; it keeps running", {{"recovery", incident_.id},
                                                                 {"pod", incident_.target.podName},
                                                                 {"container", incident_.target.container},
                                                                 {"error", error.message()}});
}

void Chronicle::ended(Stamp at) {
  servesNoMore();
  const auto measure = [&](std::optional<telemetry::RecoveryFailure> failure) {
    metrics_.ended(incident_.workload, incident_.cause, measuredAs(incident_.state), incident_.id, failure);
  };
  if (incident_.state == State::failed) {
    const auto& error = *incident_.error;
    measure(telemetry::RecoveryFailure{error.stage, error.reason});
    log_.error("recovery failed", {{"recovery", incident_.id},
                                   {"namespace", incident_.target.podNamespace},
                                   {"pod", incident_.target.podName},
                                   {"container", incident_.target.container},
                                   {"workload", incident_.workload},
                                   {"binary", incident_.binary.toString()},
                                   {"stage", toString(error.stage)},
                                   {"reason", toString(error.reason)},
                                   {"error", error.message()}});
  } else {
    reached(at);
    measure(std::nullopt);
  }
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

void Chronicle::close() {
  if (incident_.neverAgain) {
    const auto written = writeEnd();
    if (written) return;
    log_.error("journal not written; a restart of the daemon may run this fallback again",
               {{"recovery", incident_.id}, {"error", written.error().message()}});
  }
  const auto removed = journal_.remove(incident_.id);
  if (!removed) log_.error("journal", {{"recovery", incident_.id}, {"error", removed.error().message()}});
}

}  // namespace fallbackd::recovery
