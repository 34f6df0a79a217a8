// SPDX-License-Identifier: Apache-2.0
#include "recovery/recovery.hpp"

#include "base/async/backoff.hpp"
#include "base/async/pause.hpp"

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

// Until CRI knows the sandbox; under load that can take a while.
constexpr auto kSandboxDeadline = 10s;
constexpr auto kShortestPause = 500us;
// A containerd that disappears during this many launches in a row is not coming back soon.
constexpr int kMaxLaunches = 10;

Backoff::Limits restartPauses(const config::Workload& workload) {
  return {workload.restart.initialDelay, workload.restart.maxDelay};
}

/// containerd could not be asked: it is restarting, or down. That says nothing about the pod.
bool isSilence(const Error& error) {
  return error.stage == Stage::containerd &&
         (error.reason == Reason::unavailable || error.reason == Reason::timeout);
}

}  // namespace

config::Outcome outcomeOf(const launcher::ExitStatus& status) {
  using Kind = launcher::ExitStatus::Kind;
  if (status.kind == Kind::unknown) return config::Outcome::unknown;
  return status.kind == Kind::exited && status.value == 0 ? config::Outcome::succeeded
                                                          : config::Outcome::failed;
}

void completeHostNetwork(const Services& services, cri::SandboxStatus& status) {
  if (status.network != cri::NamespaceMode::node) return;
  if (status.hostname.empty()) status.hostname = services.nodeName;
  if (status.ips.empty() && services.nodeAddresses) status.ips = services.nodeAddresses(status.pausePid);
}

Recovery::Recovery(Services& services, Incident incident, watcher::WorkloadPtr workload,
                   std::optional<cri::SandboxStatus> status, std::optional<PodFacts> pod)
    : services_(services),
      clock_(LoopClock::of(services.executor)),
      incident_(std::move(incident)),
      workload_(std::move(workload)),
      status_(std::move(status)),
      chronicle_(services.journal, services.metrics, services.log, clock_, incident_, std::move(pod)),
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
  workload_ = std::move(workload);
  chronicle_.describes(std::move(pod));
  restartPause_ = Backoff(restartPauses(*workload_));
  knowsWorkload_ = true;
  locate();
  workloadKnown_.set();
  if (process_ != nullptr) chronicle_.record(process_->record());
}

cri::Awaitable<void> Recovery::workloadLearnt() {
  if (!knowsWorkload_) co_await workloadKnown_.wait();
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
  if (!launchBegun_ && process_ == nullptr) requestEnd(State::withdrawn);
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

cri::Awaitable<void> Recovery::resume(std::unique_ptr<launcher::Process> process) {
  process_ = std::move(process);
  launchedAt_ = clock_.now();
  locate();
  chronicle_.adopted(process_->record(), launchedAt_);
  co_await superviseUntilEnd();
}

/// Serves and restarts until the recovery is over.
cri::Awaitable<void> Recovery::superviseUntilEnd() {
  for (;;) {
    const auto next = co_await serve();
    if (!next) {
      finish(tl::unexpected<Error>(next.error()));
      co_return;
    }
    if (*next == Next::end) break;
    const bool again = co_await backOff();
    if (!again) break;
    ++incident_.restarts;
    const auto launched = co_await drive();
    if (!launched) {
      finish(launched);
      co_return;
    }
  }
  finish(Result<>{});
}

/// From the binary to a started process.
cri::Awaitable<Result<>> Recovery::drive() {
  if (!knowsWorkload_) {
    // It died before anybody could say which workload started it.
    const std::variant<std::monostate, std::monostate> first =
        co_await (workloadLearnt() || untilEndRequested());
    if (first.index() == 1) co_return Result<>{};
  }
  if (const auto status = std::exchange(unjudged_, std::nullopt);
      status && !config::restartsAfter(workload_->restart, outcomeOf(*status))) {
    const auto ended = co_await endForGood(*status, outcomeOf(*status));
    if (!ended) co_return tl::unexpected<Error>(ended.error());
    co_return Result<>{};
  }
  // Named, not written into the call: GCC 12 destroys temporaries in a co_await expression twice.
  Chooser chooser{workload_->binaryFrom, incident_.target.podNamespace};
  const auto admitted = co_await services_.binaries.acquire(workload_->binary, std::move(chooser));
  if (!admitted) co_return tl::unexpected<Error>(admitted.error());
  const auto verified = clock_.now();
  if (!incident_.stamps.verified) {
    incident_.stamps.verified = verified;
    reach(State::verified, verified);
  }

  auto process = co_await launch(*admitted);
  for (int again = 1; !process && isSilence(process.error()) && again < kMaxLaunches; ++again) {
    process = co_await launch(*admitted);
  }
  if (!process) co_return tl::unexpected<Error>(process.error());
  if (*process == nullptr) co_return Result<>{};  // the container came, or the pod went, before the launch

  process_ = std::move(*process);
  chronicle_.launched(process_->notes());
  const auto& times = process_->times();
  launchedAt_ = times.started;
  incident_.pid = process_->record().pid;
  if (!incident_.stamps.started) {
    auto& stamps = incident_.stamps;
    stamps.prepared = times.prepared;
    stamps.healthChecked = times.healthChecked;
    stamps.started = times.started;
    chronicle_.measureLaunch();
  }
  reach(State::health_checked, times.healthChecked);
  reach(State::started, times.started);
  chronicle_.record(process_->record());
  co_return Result<>{};
}

/// Tries once; null if the recovery was asked to end before anything was started.
cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> Recovery::launch(cache::AdmittedPtr binary) {
  auto status = co_await sandboxReady();
  if (!status) co_return tl::unexpected<Error>(status.error());
  completeHostNetwork(services_, *status);
  incident_.podIp = status->ips.empty() ? std::string() : status->ips.front();
  locate();
  const FairGroup group{workload_->imageFrom == Provenance::configuration ? FairGroup::Kind::configured
                                                                          : FairGroup::Kind::chosen,
                        incident_.target.podNamespace};
  const std::variant<FairGate::Place, std::monostate> turn =
      co_await (services_.launches->enter(group) || untilEndRequested());
  if (requestedEnd_) co_return nullptr;
  launcher::LaunchRequest request;
  request.recoveryId = incident_.id;
  request.executable = std::shared_ptr<const sys::UniqueFd>(binary, &binary->executable);
  request.sandbox = std::move(*status);
  request.workload = *workload_;
  request.nodeName = services_.nodeName;
  request.restartCount = incident_.restarts;
  launchBegun_ = true;
  co_return co_await services_.launcher.launch(std::move(request));
}

/// Returns what is known, once; otherwise asks CRI for the sandbox until it is ready. The end of the pod
/// shows here as sandbox_gone.
cri::Awaitable<Result<cri::SandboxStatus>> Recovery::sandboxReady() {
  // The launcher checks that its pause process is still the same.
  if (auto known = std::exchange(status_, std::nullopt)) co_return std::move(*known);
  auto deadline = clock_.now() + kSandboxDeadline;
  askingSince_ = clock_.now();
  for (;;) {
    auto status = co_await services_.runtime.sandboxStatus(incident_.target.sandboxId);
    if (status && status->sandbox.ready) co_return status;
    if (requestedEnd_) co_return fail(Stage::sandbox, Reason::sandbox_gone, "the pod's sandbox ended");
    const bool silence = !status && isSilence(status.error());
    if (silence) deadline = clock_.now() + kSandboxDeadline;  // as long as it takes
    // A process that was started once had a sandbox: if it is not ready now, it is gone.
    const bool mayCome =
        silence || (!incident_.stamps.started && (status || status.error().reason == Reason::not_found ||
                                                  status.error().reason == Reason::sandbox_gone));
    if (!mayCome || clock_.now() > deadline) {
      if (!status && status.error().reason != Reason::not_found) co_return status;
      co_return fail(Stage::sandbox, Reason::sandbox_gone,
                     "sandbox " + incident_.target.sandboxId + " does not exist or is not ready");
    }
    co_await askNow_.waitFor(cri::pauseBeforeAskingAgain(askingSince_, clock_.now(), kShortestPause));
  }
}

/// Until the process dies (restart), or the recovery is asked to end.
cri::Awaitable<Result<Recovery::Next>> Recovery::serve() {
  if (process_ == nullptr) co_return Next::end;  // asked to end before the launch
  if (!knowsWorkload_) {
    const std::variant<launcher::ExitStatus, std::monostate, std::monostate> first =
        co_await (process_->exited() || untilEndRequested() || workloadLearnt());
    if (first.index() == 1) co_return co_await endAsRequested();
    if (first.index() == 0) {
      unjudged_ = std::get<0>(first);
      noteExit(*unjudged_);
      co_return Next::restart;
    }
  }
  if (incident_.state != State::ready) {
    const auto next = co_await becomeReady();
    if (!next || *next == Next::restart || incident_.state != State::ready) co_return next;
  }
  const std::variant<launcher::ExitStatus, std::monostate, std::monostate, std::monostate> first =
      co_await (process_->exited() || untilEndRequested() || failsLiveness() || chronicle_.keepRecorded());
  if (first.index() == 1) co_return co_await endAsRequested();
  if (first.index() == 2) {
    const auto status = co_await process_->stop(workload_->terminationGrace);
    co_return co_await afterEnd(status, config::Outcome::failed);
  }
  const auto& status = std::get<0>(first);
  co_return co_await afterEnd(status, outcomeOf(status));
}

cri::Awaitable<Result<Recovery::Next>> Recovery::afterEnd(launcher::ExitStatus status,
                                                          config::Outcome outcome) {
  noteExit(status);
  if (config::restartsAfter(workload_->restart, outcome)) co_return Next::restart;
  co_return co_await endForGood(status, outcome);
}

/// Its restart policy wants no other run.
cri::Awaitable<Result<Recovery::Next>> Recovery::endForGood(launcher::ExitStatus status,
                                                            config::Outcome outcome) {
  co_await cleanUp();
  incident_.neverAgain = true;
  completed_ = outcome == config::Outcome::succeeded;
  if (completed_) co_return Next::end;
  using Kind = launcher::ExitStatus::Kind;
  co_return fail(Stage::run, status.kind == Kind::signaled ? Reason::signaled : Reason::exited,
                 status.toString() + "; restart.policy of its workload allows no other run");
}

/// What a dead process leaves behind.
cri::Awaitable<void> Recovery::cleanUp() {
  if (process_ == nullptr) co_return;
  const auto status = co_await process_->stop(0ns);
  static_cast<void>(status);
  process_.reset();
}

cri::Awaitable<Result<Recovery::Next>> Recovery::endAsRequested() {
  const auto grace =
      *requestedEnd_ == State::handed_back ? workload_->handBack.grace : workload_->terminationGrace;
  const auto status = co_await process_->stop(grace);
  static_cast<void>(status);
  process_.reset();
  chronicle_.stopped();
  co_return Next::end;
}

void Recovery::noteExit(const launcher::ExitStatus& status) {
  chronicle_.exited(status);
  incident_.state = State::verified;
  incident_.pid = 0;
}

/// Cleans up after a dead process and waits for the back-off. False if the recovery ends meanwhile.
cri::Awaitable<bool> Recovery::backOff() {
  const auto now = clock_.now();
  chronicle_.servesNoMore();
  co_await cleanUp();
  if (now - launchedAt_ >= workload_->restart.resetAfter) restartPause_.reset();
  const bool ended = co_await endRequested_.waitFor(restartPause_.next());
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
  // Only a failure ends a recovery that nobody asked to end. A sandbox that is gone took its pod with it.
  if (!result && result.error().reason == Reason::sandbox_gone) return State::pod_gone;
  return State::failed;
}

Error Recovery::failureOf(const Result<>& result) const {
  if (requestedEnd_) return {Stage::config, Reason::not_found, 0, "its workload is not configured any more"};
  if (result) return {Stage::run, Reason::internal, 0, "ended without a reason"};
  return result.error();
}

}  // namespace fallbackd::recovery
