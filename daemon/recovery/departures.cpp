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
  const auto found = group_->away.find(number_);
  if (found != group_->away.end() && found->second > now) found->second = now + kRest;
}

void Departures::Place::renew() {
  group_->away[number_] = clock_->now() + kLimit;
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

std::optional<Departures::Place> Departures::leave(const std::string& workload) {
  auto& group = groupOf(workload);
  std::erase_if(group.away, [now = clock_.now()](const auto& one) { return one.second <= now; });
  const auto all = group.running + group.away.size();
  if (group.away.size() >= std::max<std::size_t>(1, all / kShare)) return std::nullopt;
  if (group.running > 0) --group.running;
  Place place(clock_, groups_.at(workload), group.next++);
  place.renew();
  return place;
}

}  // namespace fallbackd::recovery
