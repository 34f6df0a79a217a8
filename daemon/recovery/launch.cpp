// SPDX-License-Identifier: Apache-2.0
// How a recovery gets its process: the admitted binary, the sandbox as CRI describes it, its turn, launching.
#include "recovery/recovery.hpp"

#include <cerrno>
#include <chrono>
#include <sys/stat.h>
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
// Retries while the machine is short of something: after a moment at first, for about a minute at most.
constexpr Backoff::Limits kShortagePauses{20ms, 5s};
constexpr int kMaxShortages = 20;

bool asksByCommand(const config::Workload& workload) {
  using Command = config::ReadyWhenCommand;
  return std::holds_alternative<Command>(workload.readiness.when) ||
         (workload.liveness && std::holds_alternative<Command>(workload.liveness->when));
}

/// containerd is restarting, or down: it is asked for as long as that takes. From any other silence it should
/// recover within kSandboxDeadline.
bool isAway(const Error& error) {
  return isSilence(error) && (error.reason == Reason::unavailable || error.reason == Reason::timeout);
}

/// A program that ran from the same copy may have spoilt it for all others. A denial by AppArmor or SELinux
/// fails in the same way, but leaves the copy as it was.
bool isSpoilt(const cache::Admitted& copy, const Error& error) {
  if (error.stage != Stage::exec) return false;
  if (error.errnum == ETXTBSY) return true;
  struct stat info {};
  constexpr mode_t kExecutable = S_IXUSR | S_IXGRP | S_IXOTH;
  return (error.errnum == EACCES || error.errnum == EPERM) && ::fstat(copy.executable.get(), &info) == 0 &&
         (info.st_mode & kExecutable) != kExecutable;
}

}  // namespace

void completeHostNetwork(const Services& services, cri::SandboxStatus& status) {
  if (status.network != cri::NamespaceMode::node) return;
  if (status.hostname.empty()) status.hostname = services.nodeName;
  if (status.ips.empty() && services.nodeAddresses) status.ips = services.nodeAddresses(status.pausePid);
}

/// From the binary to a started process.
cri::Awaitable<Result<>> Recovery::drive() {
  if (!knowsWorkload_) {
    // It died before it was known which workload started it.
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
  auto process = co_await launchPatiently();
  incident_.error.reset();
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

/// Retries after temporary shortages: the pod has nothing else. Null as from launch().
cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> Recovery::launchPatiently() {
  Backoff pause(kShortagePauses);
  int shortages = 0;
  bool otherCopy = false;
  std::optional<Stamp> silentUntil;
  for (int absences = 0;;) {
    auto process = co_await admitAndLaunch();
    if (process) {
      withdrawalWaits_ = false;  // it came too late, and says nothing about the next run
      co_return process;
    }
    launchBegun_ = false;
    if (withdrawalWaits_) requestEnd(State::withdrawn);
    if (requestedEnd_ == State::withdrawn) co_return nullptr;
    const auto& error = process.error();
    if (std::exchange(copyWasSpoilt_, false) && !std::exchange(otherCopy, true)) continue;
    const bool away = isAway(error);
    if (away || !isSilence(error)) silentUntil.reset();
    if (away && ++absences < kMaxLaunches) continue;
    if (isSilence(error) && !away && !silentUntil) silentUntil = clock_.now() + kSandboxDeadline;
    const bool silence = silentUntil && clock_.now() < *silentUntil;
    if (!silence && (!mayPass(error) || ++shortages >= kMaxShortages)) co_return process;
    if (showsNew(error)) chronicle_.cannotBeLaunched(error);
    const bool ended = co_await endRequested_.waitFor(pause.next());
    if (ended) co_return nullptr;
  }
}

/// If the program may already have run, its restart policy has to allow another run.
bool Recovery::mayPass(const Error& error) const {
  const bool mayHaveRun =
      error.reason == Reason::spawner_gone || (error.stage == Stage::run && error.reason == Reason::killed);
  return isTemporary(error) &&
         (!mayHaveRun || config::restartsAfter(workload_->restart, config::Outcome::unknown));
}

/// Each attempt asks the cache: the binary may have been revoked since the last one.
cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> Recovery::admitAndLaunch() {
  // Named, not written into the call: GCC 12 destroys temporaries in a co_await expression twice.
  auto chooser = chooserOf(*services_.config, *workload_, incident_.target.podNamespace);
  auto admitted = co_await services_.binaries.acquire(workload_->binary, std::move(chooser));
  if (!admitted) co_return tl::unexpected<Error>(admitted.error());
  const auto verified = clock_.now();
  if (!incident_.stamps.verified) {
    incident_.stamps.verified = verified;
    reach(State::verified, verified);
  }
  auto process = co_await launch(*admitted);
  if (process && *process) runsFrom_ = *admitted;
  if (!process && isSpoilt(**admitted, process.error())) {
    services_.binaries.giveUp(*admitted);
    copyWasSpoilt_ = true;
  }
  co_return process;
}

Result<Effective> Recovery::effectiveNow(const cri::SandboxStatus& status,
                                         const cache::Admitted& binary) const {
  const auto& target = incident_.target;
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  return effectiveWorkload(selected_, spec.get(), *services_.config,
                           {services_.specs->facts(target.podUid), &status, binary.image});
}

/// For each launch: the pod's specification may have changed, and another binary may have been admitted.
Result<> Recovery::complete(const cri::SandboxStatus& status, const cache::Admitted& binary) {
  FB_TRY(auto effective, effectiveNow(status, binary));
  workload_ = std::move(effective.workload);
  if (!effective.differs.empty()) chronicle_.inheritsNot(effective.differs);
  return {};
}

/// Tries once; null if the recovery was asked to end before anything was started.
cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> Recovery::launch(cache::AdmittedPtr binary) {
  auto status = co_await sandboxReady();
  if (!status) co_return tl::unexpected<Error>(status.error());
  completeHostNetwork(services_, *status);
  const auto completed = complete(*status, *binary);
  if (!completed) co_return tl::unexpected<Error>(completed.error());
  incident_.podIp = status->ips.empty() ? std::string() : status->ips.front();
  locate();
  const std::variant<FairGate::Place, std::monostate> turn =
      co_await (services_.launches->enter(launchGroup()) || untilEndRequested());
  if (requestedEnd_) co_return nullptr;
  auto request = requestFor(std::move(binary), std::move(*status), *workload_);
  launchedAs_.reset();
  if (asksByCommand(*workload_)) launchedAs_ = request;
  launchBegun_ = true;
  co_return co_await services_.launcher.launch(std::move(request));
}

FairGroup Recovery::launchGroup() const {
  const bool configured = workload_->imageFrom == Provenance::configuration;
  return {configured ? FairGroup::Kind::configured : FairGroup::Kind::chosen, incident_.target.podNamespace};
}

launcher::LaunchRequest Recovery::requestFor(cache::AdmittedPtr binary, cri::SandboxStatus status,
                                             const config::Workload& workload) const {
  launcher::LaunchRequest request;
  request.recoveryId = incident_.id;
  request.executable = std::shared_ptr<const sys::UniqueFd>(binary, &binary->executable);
  request.sandbox = std::move(status);
  request.workload = workload;
  request.nodeName = services_.nodeName;
  request.restartCount = incident_.restarts;
  return request;
}

/// Returns what is known, once; otherwise asks CRI for the sandbox until it is ready. The end of the pod
/// appears here as sandbox_gone.
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
    if (silence && isAway(status.error())) deadline = clock_.now() + kSandboxDeadline;  // as long as it takes
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

}  // namespace fallbackd::recovery
