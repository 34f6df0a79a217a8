// SPDX-License-Identifier: Apache-2.0
#include "watcher/pull_watch.hpp"

#include <algorithm>

namespace fallbackd::watcher {

namespace {

// containerd fills a buffer of 1 MiB before it writes any of it, so a download of 50 KB/s shows nothing in
// its store for 20 s, just like one that hangs. If the connections cannot be seen, a download gets this many
// times the stall timeout.
constexpr int kPieceFactor = 30;
// A pull asks for a token, a manifest and perhaps an index before it has anything to download. Connections
// and manifests that move in that time may be another pull's: they count for this many answers, then no
// longer.
constexpr int kMaxAnswersUnseen = 5;

Monotonic::duration toDuration(std::chrono::nanoseconds time) {
  return std::chrono::duration_cast<Monotonic::duration>(time);
}

}  // namespace

/// Never before the previous look, whatever happens to the wall clock.
Stamp PullWatch::stampOf(Wall::time_point when, Stamp asked, Wall::time_point askedWall) const {
  if (when >= askedWall) return asked;
  const auto age = std::chrono::duration_cast<Monotonic::duration>(askedWall - when);
  return age >= asked - storeAsked_ ? storeAsked_ : asked - age;
}

void PullWatch::sawStore(const std::vector<cri::Content>& contents, const std::vector<cri::Ingest>& ingests,
                         Stamp asked, Wall::time_point askedWall) {
  const bool resolving = !progress_.downloading();
  const auto movement = progress_.look(contents, ingests);
  if (movement.ours) storeMoved_ = std::max(storeMoved_, stampOf(*movement.ours, asked, askedWall));
  if (movement.perhapsOurs) {
    perhapsMoved_ = std::max(perhapsMoved_, stampOf(*movement.perhapsOurs, asked, askedWall));
  }
  if (progress_.storing()) storeMoved_ = asked;
  storeAsked_ = asked;
  if (resolving) slowestAnswer_ = wire_.longestSilence();
}

void PullWatch::missedStore(Stamp asked) {
  storeMoved_ = asked;
  storeAsked_ = asked;
}

Monotonic::duration PullWatch::limit() const {
  const auto now = limits();
  const auto response = toDuration(now.response);
  if (!wire_.visible()) {
    return downloading() ? std::max(response, kPieceFactor * toDuration(now.stall)) : response;
  }
  return downloading() || wire_.connected() ? response : toDuration(now.stall);
}

Stamp PullWatch::moved() const {
  if (!wire_.visible()) return std::max(storeMoved_, perhapsMoved_);
  if (progress_.downloadingOurs()) {
    return std::max(storeMoved_, wire_.moved(Wire::Scope::all).value_or(storeMoved_));
  }
  // If the connections of the registry are known, they show all of its answers.
  const auto perhaps = wire_.knowsPeer() ? storeMoved_ : perhapsMoved_;
  const auto seen = std::max(perhaps, wire_.moved(Wire::Scope::small).value_or(storeMoved_));
  const auto most = storeMoved_ + kMaxAnswersUnseen * toDuration(limits().response);
  return std::max(storeMoved_, std::min(most, seen));
}

std::optional<std::chrono::nanoseconds> PullWatch::stalled(Stamp now) const {
  const auto limit = this->limit();
  if (now < moved() + limit) return std::nullopt;
  // Without an answer of the store from the second half of that time, it may be that only the store moved.
  if (storeAsked_ < moved() + limit / 2) return std::nullopt;
  return limit;
}

}  // namespace fallbackd::watcher
