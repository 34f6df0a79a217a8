// SPDX-License-Identifier: Apache-2.0
// With policy Always kubelet pulls once the stand-in has made way, even an image that is here. Until its
// back-off after failed pulls has run out, the pod would have no endpoint, so the stand-in stays until then.
#include "base/async/pause.hpp"
#include "recovery/recovery.hpp"
#include "recovery/settling.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::recovery {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds kPullLook = 1s;

/// "01:30:05 UTC", rounded up.
std::string clockTime(Wall::time_point when) {
  return rfc3339(std::chrono::ceil<std::chrono::seconds>(when)).substr(11, 8) + " UTC";
}

}  // namespace

bool Settling::pullsAlways() const {
  return config::pullPolicyOf(*workload_) == config::PullPolicy::always;
}

void Settling::imageArrived() {
  if (standIn_ != nullptr && !pullsAlways()) imageCame();
}

void Settling::pullFailed() {
  if (standIn_ != nullptr && pullsAlways() && !wantsNone()) imageCame_.reset();
}

/// Kubelet remembers failures by the pod, so those of an earlier sandbox count, too.
void Settling::kubeletPullsSince(const cri::Sandbox* sandbox) {
  if (pulls_) return;
  std::optional<Stamp> first;
  if (sandbox != nullptr && sandbox->attempt == 0 && sandbox->createdAt) {
    const auto age = std::max<Wall::duration>(clock_.wall() - *sandbox->createdAt, Wall::duration(0));
    first = clock_.now() - age;
    if (!incident_.adopted) first = std::min(*first, incident_.stamps.waitingSince);
  }
  pulls_.emplace(first);
}

/// An earlier daemon's stand-in: when it was made is not known.
cri::Awaitable<void> Settling::learnEarlierPulls() {
  if (!pullsAlways()) co_return;
  const auto sandbox = co_await services_.runtime.sandboxStatus(incident_.target.sandboxId);
  kubeletPullsSince(sandbox ? &sandbox->sandbox : nullptr);
  pulls_->closed(clock_.now());
}

/// False: its image cannot be pulled any more.
cri::Awaitable<bool> Settling::untilKubeletPulls() {
  if (!pullsAlways() || !pulls_) co_return true;
  const auto goesOn = [this] { return imageCame_.isSet() && !wantsNone(); };
  if (const auto now = clock_.now(); now < pulls_->over()) {
    note(State::settled,
         "its image can be pulled, but kubelet, which pulls it again (policy Always), may refuse to until " +
             clockTime(later(clock_.wall(), pulls_->over() - now)) + ", after pulls that failed",
         standIn_->containerId());
  }
  while (goesOn() && clock_.now() < pulls_->over()) {
    const std::chrono::nanoseconds rest = pulls_->over() - clock_.now();
    co_await pauseFor(std::min(rest, kPullLook));
  }
  if (imageCame_.isSet()) co_return true;
  noteRunning();
  co_return false;
}

}  // namespace fallbackd::recovery
