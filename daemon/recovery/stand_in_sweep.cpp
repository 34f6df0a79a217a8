// SPDX-License-Identifier: Apache-2.0
// Removes stand-ins without a recovery: of a daemon that died between two steps, or whose removal failed.
#include "base/async/backoff.hpp"
#include "recovery/recoveries.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace fallbackd::recovery {

namespace {

using namespace std::chrono_literals;

constexpr auto kSweepInterval = 1min;
constexpr Backoff::Limits kSweepRetries{2s, 1min};
constexpr std::string_view kSweepFails = "sweep of stand-ins: ";
// kubelet reads how the containers of a terminating pod have ended, and removes them itself.
constexpr auto kLeftToKubelet = 30s;

bool justGone(const Incident& incident, Stamp now) {
  const auto& ended = incident.stamps.ended;
  return incident.state == State::pod_gone && ended && now - *ended < kLeftToKubelet;
}

}  // namespace

bool Recoveries::keepsStandIn(const std::string& recoveryId) const {
  // For these it is not known yet whether their fallback runs.
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

/// Its fallback has ended, whatever else has to be found out. If this fails, it is tried again together with
/// that.
cri::Awaitable<void> Recoveries::removeStandInsOf(Target target) {
  if (services_.standIns == nullptr) co_return;
  const auto removed =
      co_await services_.standIns->removeAll(target.sandboxId, target.container, standin::Fallback::ended);
  static_cast<void>(removed);
}

/// Whether some were kept.
cri::Awaitable<Result<bool>> Recoveries::sweepOnce() {
  services_.standInsMayExist = false;  // one that is made from now on sets it again
  sweeping_ = true;
  bool kept = false;
  std::function<bool(const std::string&)> isKept = [&](const std::string& recoveryId) {
    const bool keeps = keepsStandIn(recoveryId);
    kept = kept || keeps;
    return keeps;
  };
  const auto removed = co_await services_.standIns->removeOthers(std::move(isKept));
  sweeping_ = false;
  if (!removed || kept) services_.standInsMayExist = true;
  saySwept(removed);
  if (!removed) co_return tl::unexpected<Error>(removed.error());
  co_return kept;
}

/// Each error once, until it works again.
void Recoveries::saySwept(const Result<std::size_t>& removed) {
  if (removed) {
    std::erase_if(said_, [](const auto& text) { return text.starts_with(kSweepFails); });
    if (*removed > 0) {
      services_.log.warn("removed stand-ins without a fallback", {{"standIns", *removed}});
    }
    return;
  }
  const auto error = removed.error().message();
  if (!firstTime(std::string(kSweepFails) + error)) return;
  services_.log.warn("stand-ins without a fallback cannot be removed; will retry", {{"error", error}});
}

cri::Awaitable<void> Recoveries::sweepStandIns() {
  Backoff retry(kSweepRetries);
  for (;;) {
    sweepAsked_.reset();  // a request during a sweep waits for the next one
    bool again = false;
    if (services_.standInsMayExist) {
      const auto kept = co_await sweepOnce();
      if (kept) retry.reset();
      // A recovery that is not known yet soon is, and a stand-in that is not allowed is soon gone.
      again = !kept || !held_.empty() || (*kept && services_.standInsForbidden);
    }
    const std::chrono::nanoseconds pause = again ? retry.next() : kSweepInterval;
    const bool asked = co_await sweepAsked_.waitFor(pause);
    if (asked) retry.reset();
  }
}

}  // namespace fallbackd::recovery
