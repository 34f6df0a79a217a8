// SPDX-License-Identifier: Apache-2.0
#include "recovery/departures.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::recovery {

namespace {

constexpr std::size_t kShare = 4;

}  // namespace

Departures::Place::~Place() {
  if (group_ == nullptr) return;
  const auto now = clock_->now();
  group_->expire(now);
  const auto found = group_->away.find(number_);
  if (found == group_->away.end()) return;
  found->second.until = now + rest_;
  found->second.back = true;
  found->second.backAt = now;
}

void Departures::Place::renew() {
  group_->away[number_].until = clock_->now() + kLimit;
}

bool Departures::Away::isOver(Stamp now) {
  const auto ready = back && isReady ? isReady() : std::nullopt;
  if (!ready) return until <= now;
  if (!*ready) {
    readySince.reset();
    return backAt + kLimit <= now;
  }
  if (!readySince) readySince = now;
  return *readySince + kRouted <= now;
}

void Departures::Group::expire(Stamp now) {
  for (auto one = away.begin(); one != away.end();) {
    auto& place = one->second;
    if (!place.isOver(now)) {
      ++one;
      continue;
    }
    if (!place.back && succeeded < place.until - kLimit) {
      stalled = true;
      nextTry = now + kStalled;
    }
    one = away.erase(one);
  }
}

Departures::Group& Departures::groupOf(const std::string& workload) {
  auto& group = groups_[workload];
  if (group == nullptr) group = std::make_shared<Group>();
  return *group;
}

void Departures::runs(const std::string& workload, int change) {
  auto& running = groupOf(workload).running;
  if (change > 0) {
    ++running;
  } else if (running > 0) {
    --running;
  }
}

bool Departures::hasRoom(const std::string& workload) {
  auto& group = groupOf(workload);
  const auto now = clock_.now();
  group.expire(now);
  if (now < group.nextTry) return false;
  const auto all = group.running + group.away.size();
  const auto share = group.stalled ? 1 : std::max<std::size_t>(1, all / kShare);
  return group.away.size() < share;
}

std::optional<Departures::Place> Departures::leave(const std::string& workload, std::chrono::nanoseconds rest,
                                                   IsReady isReady) {
  if (!hasRoom(workload)) return std::nullopt;
  auto& group = groupOf(workload);
  if (group.running > 0) --group.running;
  group.away[group.next].isReady = std::move(isReady);
  Place place(clock_, groups_.at(workload), group.next++, std::max<std::chrono::nanoseconds>(rest, kRest));
  place.renew();
  return place;
}

void Departures::succeeded(const std::string& workload) {
  const auto found = groups_.find(workload);
  if (found == groups_.end()) return;
  auto& group = *found->second;
  const auto now = clock_.now();
  group.expire(now);
  group.succeeded = now;
  if (std::exchange(group.stalled, false)) group.nextTry = now + kRest;
}

bool Departures::stalled(const std::string& workload) const {
  const auto found = groups_.find(workload);
  return found != groups_.end() && found->second->stalled;
}

}  // namespace fallbackd::recovery
