// SPDX-License-Identifier: Apache-2.0
#include "recovery/hand_back_gap.hpp"

#include <algorithm>

namespace fallbackd::recovery {

namespace {

constexpr std::size_t kKeptHandBacks = 256;

}  // namespace

void HandBackGap::asked(const Incident& incident, const std::string& containerId) {
  if (open_.size() >= kKeptHandBacks) open_.clear();  // containers that never started
  auto& one = open_[incident.target];
  if (one.containerId == containerId && one.recovery == incident.id) return;  // reported again
  one = HandBack{containerId, incident.workload, incident.id};
}

void HandBackGap::ended(const Incident& incident) {
  const auto found = open_.find(incident.target);
  if (found == open_.end()) return;
  if (incident.state != State::handed_back) {
    open_.erase(found);
    return;
  }
  const auto& stamps = incident.stamps;
  found->second.fallbackEnded = stamps.stopped ? stamps.stopped : stamps.ended;
  settle(found);
}

void HandBackGap::containerStarted(const std::string& containerId, Stamp at) {
  const auto found = std::find_if(open_.begin(), open_.end(),
                                  [&](const auto& one) { return one.second.containerId == containerId; });
  if (found == open_.end()) return;
  found->second.containerStarted = at;
  settle(found);
}

void HandBackGap::settle(Open::iterator handBack) {
  const auto& one = handBack->second;
  if (!one.fallbackEnded || !one.containerStarted) return;
  // The container may have been faster than the end of the fallback.
  const auto gap = std::max(*one.containerStarted - *one.fallbackEnded, Monotonic::duration::zero());
  metrics_.handBackGap(one.workload, gap, one.recovery);
  open_.erase(handBack);
}

}  // namespace fallbackd::recovery
