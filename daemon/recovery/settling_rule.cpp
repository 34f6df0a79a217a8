// SPDX-License-Identifier: Apache-2.0
// Settling: whether a stand-in may be made now, by what the node knows of the pod.
#include "config/settle.hpp"
#include "recovery/recovery.hpp"
#include "recovery/settling.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fallbackd::recovery {

using namespace std::chrono_literals;

namespace {

constexpr auto kSettleLook = 10s;                     // between looks whether it is allowed by now
constexpr auto kAnswerLook = 1s;                      // whether a source has described the pod by now
constexpr auto kRolloutLook = 30s;                    // between questions to the API server
constexpr auto kDefaultGrace = 30s;                   // of a pod that does not specify it
constexpr std::chrono::seconds kLongestRest = 10min;  // however long a pod's probes take

}  // namespace

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

bool Settling::wantsNone() const {
  return services_.standInsForbidden ||
         config::settleOf(*services_.config, *workload_) == config::Settle::never;
}

/// With policy Always kubelet pulls even so.
cri::Awaitable<bool> Settling::imageIsHere() const {
  if (pullsAlways()) co_return false;
  const auto present = co_await services_.runtime.imagePresent(workload_->image);
  co_return present&&* present;
}

void Settling::askRollout() {
  const auto now = clock_.now();
  if (!services_.askRollout || (rolloutAskedAt_ && now - *rolloutAskedAt_ < kRolloutLook)) return;
  rolloutAskedAt_ = now;
  services_.askRollout(incident_.target.podUid);
}

cri::Awaitable<bool> Settling::mayMake() {
  look_ = kSettleLook;
  const bool awaited = realContainerIsNew() || (leftAt_ && clock_.now() - *leftAt_ < Departures::kLimit);
  if (!awaited) place_.reset();  // kubelet makes no container: others need not wait for it
  if (awaited || rejections_ >= kMaxRejections) co_return false;
  const auto now = ruling();
  if (wantsNone()) {
    // For explain; the log need not repeat what is configured.
    auto why = config::problemOfSettle(*services_.config, *workload_);
    if (why.empty()) why = now.why;
    if (services_.standInsForbidden) {
      why = "fallbackctl remove-all forbids it; fallbackctl resume allows it again";
    }
    incident_.settlement = Settlement{State::refused, std::move(why)};
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

}  // namespace fallbackd::recovery
