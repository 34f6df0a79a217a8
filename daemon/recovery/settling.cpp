// SPDX-License-Identifier: Apache-2.0
#include "recovery/settling.hpp"

#include "base/async/pause.hpp"
#include "recovery/recovery.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::recovery {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace asio::experimental::awaitable_operators;
using telemetry::StandInPhase;
using telemetry::StandInResult;

namespace {

// kubelet ends what it does not adopt at its next relist: a second, and more on a busy node.
constexpr auto kAdoptionLimit = 5s;
constexpr auto kHungPull = 30s;
constexpr unsigned kMaxRejections = 2;
constexpr auto kAfterRejection = 30s;
constexpr unsigned kMaxFailures = 5;
constexpr Backoff::Limits kSettleRetries{1s, 60s};
constexpr Backoff::Limits kLeavingRetries{1s, 30s};
constexpr auto kSettleLook = 10s;    // between looks whether it is allowed by now
constexpr auto kTurnLook = 200ms;    // whether it is its turn to make way
constexpr auto kImageLook = 30s;     // between looks whether its image has come without a notice
constexpr auto kAnswerLook = 1s;     // whether somebody has described the pod by now
constexpr auto kRolloutLook = 30s;   // between questions to the API server
constexpr auto kDefaultGrace = 30s;  // of a pod that does not say
constexpr std::chrono::seconds kLongestRest = 10min;  // however long a pod's probes take
constexpr int kUnknownExit = 255;                     // as containerd says it
constexpr int kRemovals = 5;
constexpr Backoff::Limits kRemovalPauses{100ms, 1s};

int exitCodeOf(const launcher::ExitStatus& status) {
  using Kind = launcher::ExitStatus::Kind;
  if (status.kind == Kind::exited) return status.value;
  return status.kind == Kind::signaled ? standin::exitCodeOfSignal(status.value) : kUnknownExit;
}

std::string below(const std::string& folder, const std::string& file) {
  return file.starts_with(folder + "/") ? file.substr(folder.size() + 1) : std::string();
}

}  // namespace

std::string_view toString(Settlement::State state) {
  constexpr std::array<std::string_view, 6> kNames{"refused", "held",     "settled",
                                                   "leaving", "rejected", "failed"};
  return kNames.at(static_cast<std::size_t>(state));
}

Settling::Settling(Services& services, Incident& incident)
    : services_(services),
      clock_(LoopClock::of(services.executor)),
      incident_(incident),
      imageCame_(services.executor),
      pause_(kSettleRetries),
      mayExist_(incident.adopted) {}

Settling::~Settling() {
  stopped();
}

void Settling::count(StandInResult result) {
  services_.standInMetrics->counted(incident_.workload, result);
}

/// Shown, counted and logged once for each change.
void Settling::note(State state, std::string why, std::string container) {
  Settlement now{state, std::move(why), std::move(container)};
  if (incident_.settlement == now) return;
  const bool before = incident_.settlement && incident_.settlement->state == state;
  incident_.settlement = std::move(now);
  if (!before && state == State::refused) count(StandInResult::refused);
  if (!before && state == State::held) count(StandInResult::held);
  const auto message = "stand-in " + std::string(toString(state));
  const telemetry::Fields fields{
      {"recovery", incident_.id},         {"namespace", incident_.target.podNamespace},
      {"pod", incident_.target.podName},  {"container", incident_.target.container},
      {"why", incident_.settlement->why}, {"standIn", incident_.settlement->container}};
  if (state == State::rejected || state == State::failed) {
    services_.log.warn(message, fields);
  } else {
    services_.log.info(message, fields);
  }
}

standin::Ruling Settling::ruling() const {
  const auto& target = incident_.target;
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  const auto rollout = services_.rollout ? services_.rollout(target.podUid) : std::nullopt;
  return standin::rule(config::settleOf(*services_.config, *workload_), *workload_, spec.get(), rollout);
}

std::chrono::nanoseconds Settling::grace() const {
  const auto& target = incident_.target;
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  if (spec == nullptr) return workload_ == nullptr ? kDefaultGrace : workload_->terminationGrace;
  return std::chrono::seconds(spec->terminationGracePeriodSeconds.value_or(kDefaultGrace.count()));
}

/// What the probes of the real container need at least, from its start on, as far as they are known.
std::chrono::seconds Settling::untilReady() const {
  const auto& target = incident_.target;
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  if (spec == nullptr) return 0s;
  std::int64_t seconds = 0;
  for (const auto& one : spec->containers) {
    if (one.name != target.container) continue;
    if (const auto& probe = one.startupProbe) seconds = probe->initialDelaySeconds + probe->periodSeconds;
    if (const auto& probe = one.readinessProbe) {
      seconds =
          std::max(seconds, probe->initialDelaySeconds) + probe->periodSeconds * probe->successThreshold;
    }
  }
  return std::min(std::chrono::seconds(seconds), kLongestRest);
}

void Settling::imageCame() {
  if (standIn_ != nullptr && !leavesOnlyWithPod()) imageCame_.set();
}

bool Settling::wantsNone() const {
  return config::settleOf(*services_.config, *workload_) == config::Settle::never;
}

void Settling::reconfigured() {
  if (standIn_ != nullptr && workload_ != nullptr && wantsNone()) imageCame_.set();
}

/// With policy Always kubelet pulls even so.
cri::Awaitable<bool> Settling::imageIsHere() const {
  if (pullsAlways()) co_return false;
  const auto present = co_await services_.runtime.imagePresent(workload_->image);
  co_return present&&* present;
}

/// Its image may have come, or the configuration changed, while it was being made or no daemon ran.
cri::Awaitable<void> Settling::lookAtOnce() {
  const bool here = co_await imageIsHere();
  if ((here && !leavesOnlyWithPod()) || wantsNone()) imageCame_.set();
}

void Settling::began(std::unique_ptr<standin::StandIn> standIn) {
  standIn_ = std::move(standIn);
  services_.standInMetrics->running(incident_.workload, 1);
  services_.departures->runs(incident_.workload, 1);
  place_.reset();
  imageCame_.reset();
}

void Settling::stopped() {
  if (std::exchange(standIn_, nullptr) == nullptr) return;
  if (pulls_) pulls_->opened(clock_.now());
  services_.standInMetrics->running(incident_.workload, -1);
  // With the place it has been counted as away.
  if (!place_) services_.departures->runs(incident_.workload, -1);
}

bool Settling::leavesOnlyWithPod() const {
  return workload_->handBack.when == config::HandBackWhen::on_delete && !wantsNone();
}

/// True once it has to make way: its image came, or none is wanted any more. False: it may have come
/// unnoticed.
cri::Awaitable<bool> Settling::untilItsTurn() {
  const bool came = co_await imageCame_.waitFor(kImageLook);
  if (!came) co_return false;
  const bool pulls = co_await untilKubeletPulls();
  if (!pulls) co_return false;
  if (wantsNone() || workload_->handBack.when == config::HandBackWhen::now) co_return true;
  while (!place_ && !wantsNone()) {
    if (!imageCame_.isSet()) co_return false;
    auto& departures = *services_.departures;
    place_ = departures.leave(incident_.workload, untilReady());
    if (place_) break;
    note(State::settled,
         departures.stalled(incident_.workload)
             ? "its image can be pulled, but a pod of its workload made way in vain: no container came"
             : "its image can be pulled; other pods of its workload make way first",
         standIn_->containerId());
    co_await pauseFor(kTurnLook);
  }
  co_return true;
}

cri::Awaitable<void> Settling::keep(watcher::WorkloadPtr workload, std::string logFile) {
  workload_ = std::move(workload);
  if (services_.standIns == nullptr) co_await untilCancelled();
  co_await takeOver();
  if (standIn_ != nullptr) co_await lookAtOnce();
  for (;;) {
    if (standIn_ == nullptr) {
      bool may = !underWay_;
      if (!may) may = co_await removeTraces();
      if (may) may = co_await mayMake();
      if (may) co_await make(logFile);
      if (standIn_ != nullptr) co_await lookAtOnce();
      if (standIn_ == nullptr) {
        co_await pauseFor(may ? pause_.next() : look_);
        continue;
      }
    }
    const std::variant<int, bool> first = co_await (standIn_->signalled() || untilItsTurn());
    if (first.index() == 1) {
      if (!std::get<1>(first)) {
        co_await lookAtOnce();
        continue;
      }
      co_await leaveForImage();
      continue;
    }
    const int signal = std::get<0>(first);
    const bool early = startedAt_ && clock_.now() - *startedAt_ < kAdoptionLimit;
    if (signal != 0 && !early) {
      count(StandInResult::stopped);
      co_return;
    }
    co_await rejected(signal);
  }
}

/// What an earlier daemon made goes on; until the runtime tells of it, nothing else may be made.
cri::Awaitable<void> Settling::takeOver() {
  if (!incident_.adopted || lookedForEarlier_) co_return;
  underWay_ = true;
  Backoff pause(kSettleRetries);
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
    // Its process is not one that can be held: it is removed and made again.
    if (found.error().stage == Stage::run) {
      lookedForEarlier_ = true;
      co_return;
    }
    co_await pause.wait();
  }
}

void Settling::askRollout() {
  const auto now = clock_.now();
  if (!services_.askRollout || (rolloutAskedAt_ && now - *rolloutAskedAt_ < kRolloutLook)) return;
  rolloutAskedAt_ = now;
  services_.askRollout(incident_.target.podUid);
}

cri::Awaitable<bool> Settling::mayMake() {
  look_ = kSettleLook;
  const bool awaited = leftAt_ && clock_.now() - *leftAt_ < Departures::kLimit;
  if (!awaited) place_.reset();  // kubelet makes no container: others need not wait for it
  if (awaited || rejections_ >= kMaxRejections || failures_ >= kMaxFailures) co_return false;
  const auto now = ruling();
  if (wantsNone()) {
    // For explain; the log need not repeat what is configured.
    incident_.settlement = Settlement{State::refused, now.why};
    co_return false;
  }
  if (incident_.cause == Cause::not_started) {
    note(State::refused, "its image is on the node: kubelet could start the container");
    co_return false;
  }
  if (now.kind == standin::Ruling::Kind::hold) {
    note(State::held, now.why);
    askRollout();
    co_return false;
  }
  if (now.kind == standin::Ruling::Kind::refuse) {
    note(State::refused, now.why);
    if (now.notKnown) askRollout();
    if (now.notKnown) look_ = kAnswerLook;
    co_return false;
  }
  if (pullsAlways()) co_return true;
  const auto present = co_await services_.runtime.imagePresent(workload_->image);
  if (!present) co_return false;
  if (*present) note(State::refused, "its image is on the node: kubelet can start the container");
  co_return !*present;
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

cri::Awaitable<void> Settling::make(std::string logFile) {
  auto sandbox = co_await services_.runtime.sandboxStatus(incident_.target.sandboxId);
  kubeletPullsSince(sandbox ? &sandbox->sandbox : nullptr);
  auto order = sandbox ? request(std::move(*sandbox), logFile) : tl::unexpected<Error>(sandbox.error());
  mayExist_ = true;
  underWay_ = true;
  services_.standInsMayExist = true;
  Result<std::unique_ptr<standin::StandIn>> made =
      order ? Result<std::unique_ptr<standin::StandIn>>(nullptr) : tl::unexpected<Error>(order.error());
  if (order) made = co_await services_.standIns->make(std::move(*order));
  underWay_ = false;
  if (!made) {
    const auto& error = made.error();
    if (error.reason == Reason::not_ready) {
      note(State::held, error.context);
      co_return;
    }
    count(StandInResult::failed);
    // A runtime that does not answer says nothing about the pod.
    if (error.reason != Reason::unavailable && error.reason != Reason::timeout) ++failures_;
    note(State::failed, error.message());
    co_return;
  }
  began(std::move(*made));
  startedAt_ = clock_.now();
  // A pull that hangs keeps kubelet from adopting it until it fails: 30 s where packets are dropped.
  pulls_->closed(later(*startedAt_, incident_.cause == Cause::timeout ? kHungPull : kAdoptionLimit));
  leftAt_.reset();
  failures_ = 0;
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
  note(State::settled, "a stand-in runs", standIn_->containerId());
}

/// Until it is gone: as long as it runs, kubelet makes no container. A removal that fails halfway has stopped
/// it already; so what it is sent from the first attempt on is ours, and says nothing of kubelet.
cri::Awaitable<void> Settling::leaveForImage() {
  Backoff pause(kLeavingRetries);
  for (;;) {
    const auto removed =
        co_await services_.standIns->removeAll(incident_.target.sandboxId, incident_.target.container);
    if (place_) place_->renew();
    if (removed) break;
    co_await pause.wait();
  }
  count(StandInResult::ended);
  stopped();
  pause_.reset();
  if (wantsNone()) co_return;
  leftAt_ = clock_.now();
  note(State::leaving, "its image can be pulled: kubelet makes the container");
}

/// Ended by kubelet before it can have adopted it, or by somebody else at any time. The fallback goes on.
cri::Awaitable<void> Settling::rejected(int signal) {
  if (signal != 0) co_await standIn_->exit(standin::exitCodeOfSignal(signal));
  const auto removed =
      co_await services_.standIns->removeAll(incident_.target.sandboxId, incident_.target.container);
  static_cast<void>(removed);  // the next attempt, or the next sweep, removes it
  stopped();
  place_.reset();
  ++rejections_;
  count(StandInResult::rejected);
  note(State::rejected,
       (signal != 0 ? "it was asked to end (signal " + std::to_string(signal) + ") " : "it ended ") +
           (startedAt_ ? std::to_string(toMillis(clock_.now() - *startedAt_)) + " ms after its start"
                       : std::string("by itself")) +
           (rejections_ >= kMaxRejections ? "; it is not made again for this recovery" : ""));
  if (rejections_ < kMaxRejections) co_await pauseFor(kAfterRejection);
}

cri::Awaitable<void> Settling::fallbackEnded(launcher::ExitStatus status) {
  if (standIn_ == nullptr) {
    // What was asked of the runtime may have happened although nobody waited for the answer.
    if (underWay_) static_cast<void>(co_await removeTraces());
    co_return;
  }
  if (status.oomKilled) co_await standIn_->outOfMemory();
  co_await standIn_->exit(exitCodeOf(status));
  stopped();
  place_.reset();
  count(StandInResult::ended);
  incident_.settlement.reset();
}

cri::Awaitable<bool> Settling::removeTraces() {
  Backoff pause(kRemovalPauses);
  for (int i = 0; i < kRemovals; ++i) {
    const auto removed =
        co_await services_.standIns->removeAll(incident_.target.sandboxId, incident_.target.container);
    if (removed) {
      underWay_ = false;
      mayExist_ = false;
      co_return true;
    }
    co_await pause.wait();
  }
  co_return false;
}

cri::Awaitable<void> Settling::leave() {
  if (services_.standIns == nullptr || !mayExist_) co_return;
  const bool ran = runs();
  stopped();
  incident_.settlement.reset();
  const bool removed = co_await removeTraces();
  if (removed && ran) count(StandInResult::ended);
}

}  // namespace fallbackd::recovery
