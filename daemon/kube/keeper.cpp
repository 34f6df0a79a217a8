// SPDX-License-Identifier: Apache-2.0
#include "kube/keeper.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"

#include <chrono>
#include <utility>

namespace fallbackd::kube {

using namespace std::chrono_literals;

namespace {

// A rollout changes many pods: they are written together.
constexpr auto kSettle = 5s;
// Once the disk has room again, there may be no change for hours.
constexpr auto kAfterFailure = 1min;

}  // namespace

Keeper::Keeper(const boost::asio::any_io_executor& executor, PodViewStore store, PodSink& next,
               std::function<void(const std::string&)> trouble)
    : clock_(LoopClock::of(executor)),
      store_(std::move(store)),
      next_(next),
      trouble_(std::move(trouble)),
      changed_(executor) {}

PodViewStore::Stored Keeper::load() {
  auto stored = store_.load();
  if (!stored) {
    if (stored.error().reason != Reason::not_found) trouble_(stored.error().message());
    return {clock_.wall(), {}};
  }
  view_.remember(stored->pods);
  saved_ = view_.lastingChanges();
  return std::move(*stored);
}

boost::asio::awaitable<void> Keeper::run() {
  for (;;) {
    while (saved_ == view_.lastingChanges()) {
      const auto again = failed_ ? later(clock_.now(), kAfterFailure) : Stamp::max();
      const bool changed = co_await changed_.waitUntil(again);
      if (!changed) break;
    }
    co_await pauseFor(kSettle);
    save();
  }
}

void Keeper::save() {
  if (saved_ == view_.lastingChanges() && !failed_) return;
  // Also after a failure: run() waits before it tries again.
  saved_ = view_.lastingChanges();
  const auto done = store_.save(view_.all(), clock_.wall());
  failed_ = !done;
  const auto trouble = done ? std::string() : done.error().message();
  if (!trouble.empty() && trouble != lastReported_) trouble_(trouble);
  lastReported_ = trouble;
}

void Keeper::look() {
  if (saved_ != view_.lastingChanges()) changed_.notify();
}

void Keeper::listed(SourceKind source, std::vector<PodPtr> pods) {
  view_.list(source, pods);
  look();
  next_.listed(source, std::move(pods));
}

void Keeper::changed(SourceKind source, PodPtr pod) {
  view_.change(source, pod);
  look();
  next_.changed(source, std::move(pod));
}

void Keeper::gone(SourceKind source, PodPtr pod) {
  view_.remove(source, pod);
  look();
  next_.gone(source, std::move(pod));
}

void Keeper::stateChanged(SourceState state) {
  if (view_.health(state.kind, state.health)) look();
  next_.stateChanged(std::move(state));
}

}  // namespace fallbackd::kube
