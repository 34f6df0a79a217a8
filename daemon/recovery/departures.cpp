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
  if (found != group_->away.end()) found->second = {now + rest_, true};
}

void Departures::Place::renew() {
  group_->away[number_] = {clock_->now() + kLimit};
}

void Departures::Group::expire(Stamp now) {
  for (auto one = away.begin(); one != away.end();) {
    const auto [until, back] = one->second;
    if (until > now) {
      ++one;
      continue;
    }
    if (!back && succeeded < until - kLimit) {
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

std::optional<Departures::Place> Departures::leave(const std::string& workload,
                                                   std::chrono::nanoseconds rest) {
  auto& group = groupOf(workload);
  const auto now = clock_.now();
  group.expire(now);
  if (now < group.nextTry) return std::nullopt;
  const auto all = group.running + group.away.size();
  const auto share = group.stalled ? 1 : std::max<std::size_t>(1, all / kShare);
  if (group.away.size() >= share) return std::nullopt;
  if (group.running > 0) --group.running;
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
