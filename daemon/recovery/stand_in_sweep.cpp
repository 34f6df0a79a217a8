// SPDX-License-Identifier: Apache-2.0
// Removes stand-ins without a recovery: of a daemon that died between two steps, or whose removal failed.
#include "base/async/pause.hpp"
#include "recovery/recoveries.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::recovery {

namespace {

using namespace std::chrono_literals;

constexpr auto kSweepInterval = 1min;
constexpr auto kSweepRetry = 2s;
// kubelet reads how the containers of a pod that goes have ended, and removes them itself.
constexpr auto kLeftToKubelet = 30s;

bool justGone(const Incident& incident, Stamp now) {
  const auto& ended = incident.stamps.ended;
  return incident.state == State::pod_gone && ended && now - *ended < kLeftToKubelet;
}

}  // namespace

bool Recoveries::keepsStandIn(const std::string& recoveryId) const {
  // Those of which it is not known yet whether their fallback runs.
  const bool held = std::any_of(held_.begin(), held_.end(), [&](const auto& one) {
    return one.second.empty() || one.second == recoveryId;
  });
  if (held) return true;
  // Where none is allowed, one that ended goes, too: kubelet would show it beside the next run.
  const bool active = std::any_of(active_.begin(), active_.end(), [&](const auto& one) {
    return one.second->incident().id == recoveryId &&
           (!services_.standInsForbidden || one.second->mayHoldStandIn());
  });
  if (active) return true;
  return std::any_of(ended_.begin(), ended_.end(), [&](const Incident& one) {
    return one.id == recoveryId && justGone(one, LoopClock::of(services_.executor).now());
  });
}

bool Recoveries::standInsGone() const {
  if (!services_.standInsForbidden) return false;
  if (services_.standIns == nullptr) return true;
  return !services_.standInsMayExist && !sweeping_ &&
         std::none_of(active_.begin(), active_.end(),
                      [](const auto& one) { return one.second->mayHoldStandIn(); });
}

/// Its fallback has ended, whatever else has to be found out. If it cannot be, it is tried again with that.
cri::Awaitable<void> Recoveries::removeStandInsOf(Target target) {
  if (services_.standIns == nullptr) co_return;
  const auto removed =
      co_await services_.standIns->removeAll(target.sandboxId, target.container, standin::Fallback::ended);
  static_cast<void>(removed);
}

cri::Awaitable<void> Recoveries::sweepStandIns() {
  for (;;) {
    if (services_.standInsMayExist) {
      services_.standInsMayExist = false;  // one that is made from now on sets it again
      sweeping_ = true;
      bool kept = false;
      const auto removed = co_await services_.standIns->removeOthers([&](const std::string& recoveryId) {
        const bool keeps = keepsStandIn(recoveryId);
        kept = kept || keeps;
        return keeps;
      });
      sweeping_ = false;
      if (!removed || kept) services_.standInsMayExist = true;
      if (removed && *removed > 0) {
        services_.log.warn("removed stand-ins without a fallback", {{"standIns", *removed}});
      }
      // A recovery that is not known yet soon is, and a stand-in that is not allowed is soon gone.
      if (!removed || !held_.empty() || (kept && services_.standInsForbidden)) {
        co_await pauseFor(kSweepRetry);
        continue;
      }
    }
    co_await sweepAsked_.waitFor(kSweepInterval);
  }
}

}  // namespace fallbackd::recovery
