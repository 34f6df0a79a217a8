// SPDX-License-Identifier: Apache-2.0
#include "recovery/recovery.hpp"

#include "base/async/backoff.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::recovery {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace asio::experimental::awaitable_operators;

namespace {

// kubelet stops the sandbox of a terminating pod as soon as its last container has ended.
constexpr auto kPodMayGo = 2s;

Backoff::Limits restartPauses(const config::Workload& workload) {
  return {workload.restart.initialDelay, workload.restart.maxDelay};
}

Reason reasonOf(const launcher::ExitStatus& status) {
  return status.kind == launcher::ExitStatus::Kind::signaled ? Reason::signaled : Reason::exited;
}

}  // namespace

config::Outcome outcomeOf(const launcher::ExitStatus& status) {
  using Kind = launcher::ExitStatus::Kind;
  if (status.kind == Kind::unknown) return config::Outcome::unknown;
  return status.kind == Kind::exited && status.value == 0 ? config::Outcome::succeeded
                                                          : config::Outcome::failed;
}

Recovery::Recovery(Services& services, Incident incident, watcher::WorkloadPtr workload,
                   std::optional<cri::SandboxStatus> status, std::optional<PodFacts> pod)
    : services_(services),
      clock_(LoopClock::of(services.executor)),
      incident_(std::move(incident)),
      selected_(std::move(workload)),
      workload_(selected_),
      status_(std::move(status)),
      chronicle_(services.journal, services.metrics, services.log, clock_, incident_, std::move(pod),
                 services.podEvents),
      settling_(services, incident_),
      workloadKnown_(services.executor),
      endRequested_(services.executor),
      askNow_(services.executor),
      restartPause_(restartPauses(*workload_)) {}

std::shared_ptr<Recovery> Recovery::withoutWorkload(Services& services, Incident incident) {
  auto unknown = std::make_shared<config::Workload>();
  unknown->name = incident.workload;
  unknown->match = {incident.target.podNamespace, {}, incident.target.container};
  unknown->binary = incident.binary;
  auto recovery = std::make_shared<Recovery>(services, std::move(incident), std::move(unknown));
  recovery->knowsWorkload_ = false;
  return recovery;
}

void Recovery::learnWorkload(watcher::WorkloadPtr workload, std::optional<PodFacts> pod) {
  selected_ = std::move(workload);
  workload_ = selected_;
  describeRunning();
  chronicle_.describes(std::move(pod));
  restartPause_ = Backoff(restartPauses(*workload_));
  knowsWorkload_ = true;
  locate();
  workloadKnown_.set();
  if (process_ != nullptr) chronicle_.record(process_->record());
}

void Recovery::keepAfterDrill(std::optional<PodFacts> pod) {
  awaitsWorkload_ = false;
  chronicle_.describes(std::move(pod));
  if (unjudged_) return requestEnd(State::failed);  // it has ended by itself
  if (process_ != nullptr) chronicle_.record(process_->record());
}

cri::Awaitable<void> Recovery::workloadLearnt() {
  if (!knowsWorkload_) co_await workloadKnown_.wait();
}

/// A process that runs already is probed and ended as its pod specifies, even if it would not be started
/// today.
void Recovery::describeRunning() {
  if (!selected_->inheritance.on) return;
  const auto& target = incident_.target;
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  auto inherited =
      inheritedBy(*selected_, spec.get(), *services_.config, {services_.specs->facts(target.podUid)});
  if (inherited) workload_ = std::make_shared<const config::Workload>(std::move(inherited->workload));
}

/// Kubernetes may not show the pod's address: while kubelet hangs in a pull, status.podIP is empty.
void Recovery::locate() {
  incident_.address = launcher::addressText(incident_.podIp, workload_->readiness);
}

void Recovery::requestEnd(State end) {
  // The end of the pod outranks a hand-back; neither is ever taken back.
  if (!requestedEnd_ || end == State::pod_gone) requestedEnd_ = end;
  endRequested_.set();
  askNow_.notify();
}

void Recovery::withdraw() {
  if (process_ != nullptr || incident_.adopted || incident_.stamps.started) return;
  if (launchBegun_) {
    withdrawalWaits_ = true;  // until it is known whether this attempt starts a process
  } else {
    requestEnd(State::withdrawn);
  }
}

void Recovery::sandboxStarted(Stamp at) {
  auto& stamps = incident_.stamps;
  if (stamps.started || incident_.adopted) return;
  askingSince_ = clock_.now();
  askNow_.notify();
  stamps.waitingSince = at;
  stamps.detected = std::max(stamps.detected, at);
  if (stamps.verified) stamps.verified = std::max(*stamps.verified, at);
}

cri::Awaitable<void> Recovery::untilEndRequested() {
  co_await endRequested_.wait();
}

void Recovery::reach(State state, Stamp at) {
  incident_.state = state;
  chronicle_.reached(at);
}

cri::Awaitable<void> Recovery::run() {
  chronicle_.detected();
  const auto launched = co_await drive();
  if (!launched) {
    finish(launched);
    co_return;
  }
  co_await superviseUntilEnd();
}

/// What kubelet may have adopted must not outlive its fallback.
cri::Awaitable<void> Recovery::leaveNothing() {
  if (!incident_.stamps.stopped) incident_.stamps.stopped = clock_.now();
  if (requestedEnd_ == State::handed_back) services_.departures->succeeded(settling_.group());
  if (requestedEnd_ != State::pod_gone) co_await settling_.leave();
}

cri::Awaitable<void> Recovery::resume(std::unique_ptr<launcher::Process> process) {
  process_ = std::move(process);
  launchedAt_ = clock_.now();
  describeRunning();
  locate();
  chronicle_.adopted(process_->record(), launchedAt_);
  co_await superviseUntilEnd();
}

/// Serves and restarts until the recovery is over.
cri::Awaitable<void> Recovery::superviseUntilEnd() {
  for (;;) {
    const auto next = co_await serve();
    if (!next) {
      co_await leaveNothing();
      finish(tl::unexpected<Error>(next.error()));
      co_return;
    }
    if (*next == Next::end) break;
    const bool again = co_await backOff();
    if (!again) break;
    ++incident_.restarts;
    const auto launched = co_await drive();
    if (!launched) {
      co_await leaveNothing();
      finish(launched);
      co_return;
    }
  }
  co_await leaveNothing();
  finish(Result<>{});
}

/// Until the process dies (restart), or the recovery is asked to end.
cri::Awaitable<Result<Recovery::Next>> Recovery::serve() {
  if (process_ == nullptr) co_return Next::end;  // asked to end before the launch
  if (!knowsWorkload_) {
    const std::variant<launcher::ExitStatus, std::monostate, std::monostate> first =
        co_await (process_->exited() || untilEndRequested() || workloadLearnt());
    if (first.index() == 1) co_return co_await endAsRequested();
    if (first.index() == 0) {
      const auto status = co_await howItEnded(std::get<0>(first));
      noteExit(status);
      if (!awaitsWorkload_) {
        co_await cleanUp();
        co_return fail(Stage::run, reasonOf(status),
                       status.toString() + "; its drill is over, so nothing is started in its place");
      }
      unjudged_ = status;
      co_return Next::restart;
    }
  }
  if (incident_.state != State::ready) {
    const auto next = co_await becomeReady();
    if (!next || *next == Next::restart || incident_.state != State::ready) co_return next;
  }
  const std::variant<launcher::ExitStatus, std::monostate, std::monostate, std::monostate, std::monostate>
      first = co_await (process_->exited() || untilEndRequested() || failsLiveness() ||
                        chronicle_.keepRecorded() || settling_.keep(workload_, process_->record().logFile));
  if (first.index() == 1) co_return co_await endAsRequested();
  if (first.index() == 4) co_return co_await endAsKubeletAsked();
  if (first.index() == 2) {
    const auto status = co_await stopProcess(workload_->terminationGrace);
    noteExit(status);
    co_await settling_.fallbackEnded(status);
    co_return co_await afterEnd(status, config::Outcome::failed);
  }
  const auto status = co_await howItEnded(std::get<0>(first));
  noteExit(status);
  co_await settling_.fallbackEnded(status);
  co_return co_await afterEnd(status, outcomeOf(status));
}

/// A late status decides about another run, unless the policy is to run it in any case. Meanwhile
/// nothing would be started anyway.
cri::Awaitable<launcher::ExitStatus> Recovery::howItEnded(launcher::ExitStatus status) {
  noLongerServes();
  const bool decides =
      !knowsWorkload_ || !config::restartsAfter(workload_->restart, config::Outcome::unknown);
  if (outcomeOf(status) != config::Outcome::unknown || !decides) co_return status;
  const std::variant<launcher::ExitStatus, std::monostate> first =
      co_await (process_->exitedAndTold() || untilEndRequested());
  co_return first.index() == 0 ? std::get<0>(first) : status;
}

cri::Awaitable<Result<Recovery::Next>> Recovery::afterEnd(launcher::ExitStatus status,
                                                          config::Outcome outcome) {
  if (config::restartsAfter(workload_->restart, outcome)) co_return Next::restart;
  co_return co_await endForGood(status, outcome);
}

/// Its restart policy allows no other run.
cri::Awaitable<Result<Recovery::Next>> Recovery::endForGood(launcher::ExitStatus status,
                                                            config::Outcome outcome) {
  co_await cleanUp();
  incident_.neverAgain = true;
  completed_ = outcome == config::Outcome::succeeded;
  if (completed_) co_return Next::end;
  co_return fail(Stage::run, reasonOf(status),
                 status.toString() + "; restart.policy of its workload allows no other run");
}

/// What a dead process leaves behind.
cri::Awaitable<void> Recovery::cleanUp() {
  if (process_ == nullptr) co_return;
  const auto status = co_await process_->stop(0ns);
  static_cast<void>(status);
  releaseProcess();
}

/// After this it no longer serves, however long its clean-up takes.
cri::Awaitable<launcher::ExitStatus> Recovery::stopProcess(std::chrono::nanoseconds grace) {
  const auto status = co_await process_->stop(grace);
  if (requestedEnd_) incident_.stamps.stopped = clock_.now();
  chronicle_.stopped();
  noLongerServes();
  co_return status;
}

cri::Awaitable<Result<Recovery::Next>> Recovery::endAsRequested() {
  launcher::ExitStatus status;
  if (*requestedEnd_ == State::handed_back) {
    // A stand-in that was being made must not run beside the real container, however long the grace is.
    status = co_await (stopProcess(workload_->handBack.grace) && settling_.leave());
  } else {
    status = co_await stopProcess(workload_->terminationGrace);
  }
  releaseProcess();
  // In a terminating pod, kubelet itself removes what has ended, after it has read how it ended.
  if (*requestedEnd_ == State::pod_gone) co_await settling_.fallbackEnded(status);
  co_return Next::end;
}

/// As it would end the container: the pod is terminating, or one of its probes failed. Which one it is shows
/// within the pause before the next run; if the pod stays, its restart policy decides as it does for the
/// container.
cri::Awaitable<Result<Recovery::Next>> Recovery::endAsKubeletAsked() {
  const auto stopped = co_await stopProcess(settling_.grace());
  const auto status = co_await howItEnded(stopped);
  noLongerRuns();
  co_await settling_.fallbackEnded(status);
  endedByKubelet_ = true;
  unjudged_ = status;
  co_return Next::restart;
}

void Recovery::noteExit(const launcher::ExitStatus& status) {
  chronicle_.exited(status);
  noLongerRuns();
}

/// Shows the error until it is over. False if it was shown already: then it has been logged.
bool Recovery::showsNew(const Error& error) {
  const bool known = incident_.error && incident_.error->message() == error.message();
  incident_.error = error;
  return !known;
}

/// Errors of its probes are over, too.
void Recovery::noLongerServes() {
  chronicle_.servesNoMore();
  incident_.state = State::verified;
  incident_.error.reset();
}

void Recovery::noLongerRuns() {
  noLongerServes();
  incident_.pid = 0;
}

/// Once it has ended, and nothing of it is left.
void Recovery::releaseProcess() {
  process_.reset();
  runsFrom_.reset();
  launchedAs_.reset();
}

/// Cleans up after a dead process and waits for the back-off. False if the recovery ends meanwhile.
cri::Awaitable<bool> Recovery::backOff() {
  const auto now = clock_.now();
  co_await cleanUp();
  if (now - launchedAt_ >= workload_->restart.resetAfter) restartPause_.reset();
  auto pause = restartPause_.next();
  if (std::exchange(endedByKubelet_, false)) {
    // Another container of the pod may still drain.
    const auto rest = settling_.podGoes() ? settling_.grace() + kPodMayGo : kPodMayGo;
    pause = std::max<std::chrono::nanoseconds>(pause, rest);
  }
  const bool ended = co_await endRequested_.waitFor(pause);
  co_return !ended;
}

void Recovery::finish(const Result<>& result) {
  const auto now = clock_.now();
  incident_.stamps.ended = now;
  const bool ran = incident_.adopted || incident_.stamps.started;
  if (ran && workload_->restart.policy == config::RestartPolicy::never) incident_.neverAgain = true;
  incident_.state = endOf(result);
  if (incident_.state == State::failed) incident_.error = failureOf(result);
  chronicle_.ended(now);
}

State Recovery::endOf(const Result<>& result) const {
  if (completed_) return State::completed;
  if (requestedEnd_ && *requestedEnd_ != State::failed) return *requestedEnd_;
  // Only a failure ends a recovery that was not asked to end. A sandbox that is gone took its pod with it.
  if (!result && result.error().reason == Reason::sandbox_gone) return State::pod_gone;
  return State::failed;
}

Error Recovery::failureOf(const Result<>& result) const {
  if (requestedEnd_) return {Stage::config, Reason::not_found, 0, "its workload is not configured any more"};
  if (result) return {Stage::run, Reason::internal, 0, "ended without a reason"};
  return result.error();
}

}  // namespace fallbackd::recovery
