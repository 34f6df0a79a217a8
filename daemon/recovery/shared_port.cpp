// SPDX-License-Identifier: Apache-2.0
// handBack.on: start. Both programs listen on one port for a moment (SO_REUSEPORT), and no client is refused.
#include "base/async/backoff.hpp"
#include "recovery/readiness.hpp"
#include "recovery/recoveries.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fallbackd::recovery {

namespace {

using namespace std::chrono_literals;

constexpr auto kStartLook = 2s;  // for a start without a notice
// A program that listens later leaves a gap. One that does not share its port cannot listen at all.
constexpr auto kListenLimit = 30s;
constexpr Backoff::Limits kListenLooks{1ms, 20ms};

bool hasOther(const std::set<std::uint64_t>& now, const std::set<std::uint64_t>& before) {
  return !std::includes(before.begin(), before.end(), now.begin(), now.end());
}

}  // namespace

/// False: it is gone, and kubelet makes another one.
cri::Awaitable<bool> Recoveries::untilStarted(cri::Container container, std::shared_ptr<Event> started) {
  using Run = cri::Container::State;
  for (;;) {
    const bool told = co_await started->waitFor(kStartLook);
    if (told) co_return true;
    const auto all = co_await services_.runtime.listContainers();
    if (!all) continue;
    const auto found =
        std::find_if(all->begin(), all->end(), [&](const auto& one) { return one.id == container.id; });
    if (found == all->end()) co_return false;
    if (found->state == Run::running || found->state == Run::exited) co_return true;
  }
}

cri::Awaitable<void> Recoveries::untilAnotherListens(std::shared_ptr<Recovery> recovery,
                                                     Services::Listeners listeners,
                                                     std::set<std::uint64_t> before) {
  const auto& clock = LoopClock::of(services_.executor);
  const auto deadline = clock.now() + kListenLimit;
  Backoff pause(kListenLooks);
  while (clock.now() < deadline && recovery->incident().state == State::ready) {
    const auto now = listeners();
    if (!now || hasOther(*now, before)) co_return;
    co_await pause.wait();
  }
}

cri::Awaitable<void> Recoveries::handBackOnceItListens(Key key, std::shared_ptr<Recovery> recovery,
                                                       cri::Container container,
                                                       std::shared_ptr<Event> started) {
  // Before its process can listen: what listens now is not the container's.
  const auto port = launcher::portOf(recovery->workload().readiness);
  Result<Services::Listeners> listeners = fail(Stage::readiness, Reason::not_found, "no port");
  if (port && services_.listenersOf) listeners = services_.listenersOf(recovery->incident().pid, *port);
  Result<std::set<std::uint64_t>> before = std::set<std::uint64_t>();
  if (listeners) before = (*listeners)();
  // The node's network is not the pod's to change.
  const auto sandbox = co_await services_.runtime.sandboxStatus(container.sandboxId);
  const bool ownNetwork = sandbox && sandbox->network == cri::NamespaceMode::pod;
  if (ownNetwork && services_.passOnWaiting) services_.passOnWaiting(recovery->incident().pid);
  const bool starts = co_await untilStarted(container, std::move(started));
  if (starts && listeners && before) co_await untilAnotherListens(recovery, *listeners, *before);
  starting_.erase(container.id);
  const auto found = active_.find(key);
  if (starts && found != active_.end() && found->second == recovery) recovery->handBack();
}

}  // namespace fallbackd::recovery
