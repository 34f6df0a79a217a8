// SPDX-License-Identifier: Apache-2.0
#include "recovery/departures.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::recovery {

namespace {

constexpr std::size_t kShare = 4;

}  // namespace

Departures::Place::~Place() {
  if (group_ != nullptr) group_->back.push_back(clock_->now() + kRest);
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
  while (!group.back.empty() && group.back.front() <= clock_.now()) {
    group.back.pop_front();
    --group.away;
  }
  const auto all = group.running + group.away;
  if (group.away >= std::max<std::size_t>(1, all / kShare)) return std::nullopt;
  ++group.away;
  return Place(clock_, groups_.at(workload));
}

}  // namespace fallbackd::recovery
