// SPDX-License-Identifier: Apache-2.0
// Settling: the stand-in is made, taken over from an earlier daemon, ended and removed.
#include "recovery/recovery.hpp"
#include "recovery/settling.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

namespace fallbackd::recovery {

using namespace std::chrono_literals;
using telemetry::StandInPhase;
using telemetry::StandInResult;

namespace {

constexpr Backoff::Limits kTakeOverRetries{1s, 60s};
constexpr std::chrono::seconds kHungPull = 30s;
constexpr int kUnknownExit = 255;  // as containerd reports it
constexpr int kRemovals = 5;
constexpr Backoff::Limits kRemovalPauses{100ms, 1s};

int exitCodeOf(const launcher::ExitStatus& status) {
  using Kind = launcher::ExitStatus::Kind;
  if (status.kind == Kind::exited) return status.value;
  // Some kernels do not report how a process ended that is not the daemon's child.
  if (status.oomKilled) return standin::exitCodeOfSignal(SIGKILL);
  return status.kind == Kind::signaled ? standin::exitCodeOfSignal(status.value) : kUnknownExit;
}

/// Calls a function at the end of its scope, also where a coroutine is cancelled.
template <class Call>
struct AtEnd {
  Call call;
  explicit AtEnd(Call what) : call(std::move(what)) {}
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;
  ~AtEnd() { call(); }
};

std::string below(const std::string& folder, const std::string& file) {
  return file.starts_with(folder + "/") ? file.substr(folder.size() + 1) : std::string();
}

}  // namespace

struct Settling::Making {
  explicit Making(const boost::asio::any_io_executor& executor) : over(executor) {}
  void breakOff() const {
    if (!over.isSet()) group->cancel(task);
  }
  std::shared_ptr<TaskGroup> group;
  TaskGroup::Id task = 0;
  Event over;
  Result<std::unique_ptr<standin::StandIn>> made =
      fail(Stage::run, Reason::cancelled, "its making was broken off");
};

/// What an earlier daemon made goes on; until the runtime reports it, nothing else may be made.
cri::Awaitable<void> Settling::takeOver() {
  if (!incident_.adopted || lookedForEarlier_) co_return;
  underWay_ = true;
  Backoff pause(kTakeOverRetries);
  for (;;) {
    auto found = co_await services_.standIns->find(incident_.id);
    if (found) {
      lookedForEarlier_ = true;
      underWay_ = false;
      if (*found == nullptr) co_return;
      co_await learnEarlierPulls();
      began(std::move(*found));
      count(StandInResult::adopted);
      note(State::settled, "an earlier fallbackd made it", standIn_->containerId());
      co_return;
    }
    // Its process cannot be held: the stand-in is removed and made again.
    if (found.error().stage == Stage::run) {
      lookedForEarlier_ = true;
      co_return;
    }
    co_await pause.wait();
  }
}

Result<standin::Request> Settling::request(cri::SandboxStatus sandbox, const std::string& logFile) const {
  const auto& target = incident_.target;
  if (!sandbox.sandbox.ready) return fail(Stage::sandbox, Reason::sandbox_gone, "the sandbox is not ready");
  standin::Request request;
  request.recoveryId = incident_.id;
  request.container = target.container;
  request.image = workload_->image;
  request.binary = incident_.binary;
  request.restarts = incident_.restarts;
  request.logPath = below(sandbox.logDirectory, logFile);
  request.grace = std::chrono::duration_cast<std::chrono::seconds>(grace());
  request.sandbox = std::move(sandbox);
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  if (spec == nullptr) return request;
  for (const auto& one : spec->initContainers) {
    (kube::isSidecar(one) ? request.sidecars : request.initContainers).push_back(one.name);
  }
  for (const auto& one : spec->containers) {
    if (one.name == target.container && !one.image.empty()) request.image = one.image;
  }
  return request;
}

/// What probes and hooks of the pod execute in the container: the admitted binary, which is in memory.
cri::Awaitable<Result<>> Settling::addExecutable(standin::Request& request) const {
  const auto& path = workload_->standIn.path;
  if (path.empty()) co_return Result<>{};
  auto chooser = chooserOf(*services_.config, *workload_, incident_.target.podNamespace);
  const auto binary = co_await services_.binaries.acquire(incident_.binary, std::move(chooser));
  if (!binary) co_return tl::unexpected<Error>(binary.error());
  const auto& admitted = **binary;
  request.executable =
      standin::Executable{path, admitted.digest, admitted.size, {*binary, &admitted.executable}};
  request.env = workload_->env;
  co_return Result<>{};
}

cri::Awaitable<void> Settling::make(std::string logFile) {
  auto sandbox = co_await services_.runtime.sandboxStatus(incident_.target.sandboxId);
  kubeletPullsSince(sandbox ? &sandbox->sandbox : nullptr);
  auto order = sandbox ? request(std::move(*sandbox), logFile) : tl::unexpected<Error>(sandbox.error());
  if (order) {
    const auto added = co_await addExecutable(*order);
    if (!added) order = tl::unexpected<Error>(added.error());
  }
  if (realContainerIsNew()) co_return;
  mayExist_ = true;
  underWay_ = true;
  services_.standInsMayExist = true;
  Result<std::unique_ptr<standin::StandIn>> made =
      order ? Result<std::unique_ptr<standin::StandIn>>(nullptr) : tl::unexpected<Error>(order.error());
  if (order) made = co_await makeBy(std::move(*order));
  if (realContainerIsNew()) {
    // However far it came: nothing may run beside the real container.
    static_cast<void>(co_await removeTraces(standin::Fallback::serves));
    co_return;
  }
  // If kubelet may have adopted one, the real container does not come before it is removed.
  underWay_ = !made && made.error().stage == Stage::run;
  if (!made) {
    const auto& error = made.error();
    if (error.reason == Reason::not_ready) {
      note(State::held, error.context);
      co_return;
    }
    count(StandInResult::failed);
    note(State::failed, error.message());
    if (underWay_) static_cast<void>(co_await removeTraces(standin::Fallback::serves));
    co_return;
  }
  began(std::move(*made));
  startedAt_ = clock_.now();
  // A pull that hangs keeps kubelet from adopting it until it fails: 30 s where packets are dropped.
  pulls_->closed(later(*startedAt_, incident_.cause == Cause::timeout ? kHungPull : kAdoptionLimit));
  leftAt_.reset();
  pause_.reset();
  count(StandInResult::started);
  const auto& times = standIn_->times();
  auto& metrics = *services_.standInMetrics;
  metrics.took(incident_.workload, StandInPhase::image, times.image);
  metrics.took(incident_.workload, StandInPhase::create, times.create);
  metrics.took(incident_.workload, StandInPhase::start, times.start);
  auto& stamps = incident_.stamps;
  if (!stamps.standIn && stamps.ready) {
    stamps.standIn = startedAt_;
    metrics.took(incident_.workload, StandInPhase::whole, *startedAt_ - *stamps.ready);
  }
  noteRunning();
}

cri::Awaitable<Result<std::unique_ptr<standin::StandIn>>> Settling::makeBy(standin::Request order) {
  const auto making = std::make_shared<Making>(services_.executor);
  making_ = making;
  making->group = services_.makings;
  making->task = making->group->spawn(run(*services_.standIns, std::move(order), making));
  const AtEnd breakOff([making] { making->breakOff(); });
  co_await making->over.wait();
  making_.reset();
  // No sweep may have looked since the container appeared.
  services_.standInsMayExist = true;
  co_return std::move(making->made);
}

cri::Awaitable<void> Settling::run(standin::StandIns& standIns, standin::Request order,
                                   std::shared_ptr<Making> making) {
  const AtEnd over([making] { making->over.set(); });
  making->made = co_await standIns.make(std::move(order));
}

void Settling::containerCame() {
  realCame_ = clock_.now();
  if (making_ != nullptr) making_->breakOff();
  if (standIn_ != nullptr) imageCame_.set();
}

/// Then no stand-in is made, although CRI may not list it yet.
bool Settling::realContainerIsNew() const {
  return realCame_ && clock_.now() - *realCame_ < Departures::kLimit;
}

void Settling::began(std::unique_ptr<standin::StandIn> standIn) {
  standIn_ = std::move(standIn);
  services_.standInMetrics->running(incident_.workload, 1);
  services_.departures->runs(group(), 1);
  place_.reset();
  imageCame_.reset();
}

void Settling::stopped() {
  if (std::exchange(standIn_, nullptr) == nullptr) return;
  if (pulls_) pulls_->opened(clock_.now());
  services_.standInMetrics->running(incident_.workload, -1);
  // With the place it has been counted as away.
  if (!place_) services_.departures->runs(group(), -1);
}

cri::Awaitable<void> Settling::fallbackEnded(launcher::ExitStatus status) {
  if (standIn_ == nullptr) {
    // The runtime may have carried out a request although nothing waited for its answer.
    if (underWay_) static_cast<void>(co_await removeTraces(standin::Fallback::ended));
    co_return;
  }
  if (status.oomKilled) co_await standIn_->outOfMemory();
  co_await standIn_->exit(exitCodeOf(status));
  stopped();
  place_.reset();
  count(StandInResult::ended);
  incident_.settlement.reset();
}

cri::Awaitable<bool> Settling::removeTraces(standin::Fallback fallback) {
  if (const auto making = making_) {
    co_await making->over.wait();
    making_.reset();
  }
  Backoff pause(kRemovalPauses);
  for (int i = 0; i < kRemovals; ++i) {
    const auto removed = co_await services_.standIns->removeAll(incident_.target.sandboxId,
                                                                incident_.target.container, fallback);
    if (removed) {
      underWay_ = false;
      mayExist_ = false;
      co_return true;
    }
    co_await pause.wait();
  }
  services_.standInsMayExist = true;  // for the next sweep
  co_return false;
}

cri::Awaitable<void> Settling::leave() {
  if (services_.standIns == nullptr) co_return;
  auto& shown = incident_.settlement;
  const bool wasThere = shown && (shown->state == State::settled || shown->state == State::leaving);
  if (mayExist_ || wasThere) shown.reset();  // why there was none may be read later
  if (!mayExist_) co_return;                 // the last one has been removed
  const bool ran = runs();
  stopped();
  const bool removed = co_await removeTraces(standin::Fallback::ended);
  if (removed && ran) count(StandInResult::ended);
}

}  // namespace fallbackd::recovery
