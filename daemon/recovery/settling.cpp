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
using telemetry::StandInResult;

namespace {

constexpr auto kAfterRejection = 30s;
constexpr Backoff::Limits kSettleRetries{1s, 60s};
constexpr Backoff::Limits kLeavingRetries{1s, 30s};
constexpr auto kTurnLook = 200ms;  // whether it is its turn to make way
constexpr auto kImageLook = 30s;   // between looks whether its image has come without a notice
/// kubelet does not say why it ends a container.
constexpr const char* kLikelyCauses =
    "; likely by a kubelet before 1.31, because of a different hash (the workload's image is not the pod's "
    "text), "
    "a failed probe or resizePolicy: see Rejections in docs/stand-in.md";

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
      lastEndpoint_(services, clock_, incident_.target.podUid),
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

void Settling::noteRunning() {
  note(State::settled, "a stand-in runs", standIn_->containerId());
}

void Settling::imageCame() {
  if (standIn_ != nullptr && !leavesOnlyWithPod()) imageCame_.set();
}

void Settling::reconfigured() {
  rejections_ = 0;
  pause_.reset();
  if (standIn_ != nullptr && workload_ != nullptr && wantsNone()) imageCame_.set();
}

/// Its image may have come, or the configuration changed, while it was being made or no daemon ran.
cri::Awaitable<void> Settling::lookAtOnce() {
  const bool here = co_await imageIsHere();
  if ((here && !leavesOnlyWithPod()) || wantsNone()) imageCame_.set();
}

bool Settling::leavesOnlyWithPod() const {
  return workload_->handBack.when == config::HandBackWhen::on_delete && !wantsNone();
}

/// True once it has to make way: its image came, or none is wanted any more. False: it may have come
/// unnoticed.
cri::Awaitable<bool> Settling::untilItsTurn() {
  const bool came = co_await imageCame_.waitFor(kImageLook);
  if (!came) co_return false;
  if (realContainerIsNew()) co_return true;
  const bool pulls = co_await untilKubeletPulls();
  if (!pulls) co_return false;
  if (wantsNone() || workload_->handBack.when == config::HandBackWhen::now) co_return true;
  lastEndpoint_.reset();
  while (imageCame_.isSet()) {
    tryToLeave();
    if (place_ || wantsNone()) co_return true;
    co_await pauseFor(kTurnLook);
  }
  noteRunning();
  co_return false;
}

/// Takes a place, or says why not yet.
void Settling::tryToLeave() {
  auto& departures = *services_.departures;
  if (place_ || wantsNone()) return;
  std::optional<std::string> why;
  if (departures.hasRoom(group())) {
    why = lastEndpoint_.mustStay();
    if (!why) place_ = departures.leave(group(), untilReady(), readiness());
    if (place_) return;
  } else {
    why = departures.stalled(group())
              ? "its image can be pulled, but a pod of its workload made way in vain: no container came"
              : "its image can be pulled; other pods of its workload make way first";
  }
  note(State::settled, why.value_or(""), standIn_->containerId());
}

/// Readiness of the pod with its real container, once that has come.
Departures::IsReady Settling::readiness() const {
  if (!services_.readyWithout) return nullptr;
  const auto& target = incident_.target;
  return [ask = services_.readyWithout, uid = target.podUid, container = target.container,
          standIn = standIn_->containerId()] { return ask(uid, container, standIn); };
}

/// Pods whose annotations choose a binary share one workload's name in all namespaces.
std::string Settling::group() const {
  return incident_.target.podNamespace + "/" + incident_.workload;
}

bool Settling::podGoes() const {
  return services_.isDeleting && services_.isDeleting(incident_.target.podUid);
}

cri::Awaitable<void> Settling::keep(watcher::WorkloadPtr workload, std::string logFile) {
  workload_ = std::move(workload);
  if (services_.standIns == nullptr) co_await untilCancelled();
  co_await takeOver();
  if (standIn_ != nullptr) co_await lookAtOnce();
  for (;;) {
    if (standIn_ == nullptr) {
      bool may = !underWay_;
      if (!may) may = co_await removeTraces(standin::Fallback::serves);
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
      const bool left = co_await leaveForImage();
      if (left) continue;
      count(StandInResult::stopped);
      co_return;
    }
    const int signal = std::get<0>(first);
    const bool early = startedAt_ && clock_.now() - *startedAt_ < kAdoptionLimit;
    if (signal != 0 && (!early || podGoes())) {
      count(StandInResult::stopped);
      co_return;
    }
    co_await rejected(signal);
  }
}

/// Tries until it is gone: as long as it runs, kubelet makes no container. A removal that fails halfway has
/// stopped it already; so the signals since the first attempt are ours, and say nothing about kubelet.
/// Whether its pod is terminating is known from elsewhere, if at all.
cri::Awaitable<bool> Settling::leaveForImage() {
  Backoff pause(kLeavingRetries);
  for (;;) {
    const auto removed = co_await services_.standIns->removeAll(
        incident_.target.sandboxId, incident_.target.container, standin::Fallback::serves);
    if (place_) place_->renew();
    if (removed) break;
    if (podGoes()) co_return false;
    co_await pause.wait();
  }
  mayExist_ = false;
  count(StandInResult::ended);
  stopped();
  pause_.reset();
  if (wantsNone()) co_return true;
  leftAt_ = clock_.now();
  note(State::leaving,
       std::string("its image can be pulled: kubelet makes the container") +
           (lastEndpoint_.gaveUp() ? ", although no other pod of its workload became ready in "
                                     "10 minutes"
                                   : ""));
  co_return true;
}

/// Ended by kubelet before it can have adopted it, or by someone else at any time. The fallback goes on.
cri::Awaitable<void> Settling::rejected(int signal) {
  // However long its removal takes.
  const auto age = startedAt_ ? std::optional(clock_.now() - *startedAt_) : std::nullopt;
  if (signal != 0) co_await standIn_->exit(standin::exitCodeOfSignal(signal));
  const auto removed = co_await services_.standIns->removeAll(
      incident_.target.sandboxId, incident_.target.container, standin::Fallback::serves);
  underWay_ = !removed;  // then it is removed before anything else
  stopped();
  place_.reset();
  if (!age || *age >= kAdoptionLimit) rejections_ = 0;
  ++rejections_;
  count(StandInResult::rejected);
  auto why = signal != 0 ? "it was asked to end (signal " + std::to_string(signal) + ") " : "it ended ";
  why += age ? std::to_string(*age / 1ms) + " ms after its start" : "by itself";
  if (signal != 0) why += kLikelyCauses;
  if (rejections_ >= kMaxRejections) why += "; it is not made again until the configuration changes";
  note(State::rejected, std::move(why));
  if (rejections_ < kMaxRejections) co_await pauseFor(kAfterRejection);
}

}  // namespace fallbackd::recovery
