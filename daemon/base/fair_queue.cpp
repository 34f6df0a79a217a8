// SPDX-License-Identifier: Apache-2.0
#include "base/fair_queue.hpp"

#include <algorithm>

namespace fallbackd {

namespace {

/// Visits all entries of a map, starting after `last`. Stops when `visit` returns true.
template <class Map, class Key, class Visit>
void visitAfter(Map& map, const Key& last, Visit visit) {
  const auto begin = map.upper_bound(last);
  for (auto it = begin; it != map.end(); ++it) {
    if (visit(*it)) return;
  }
  for (auto it = map.begin(); it != begin; ++it) {
    if (visit(*it)) return;
  }
}

}  // namespace

FairLimits FairLimits::of(std::size_t total, std::size_t perResource) {
  const auto chosen = std::max<std::size_t>(total / 2, 1);
  return {total, chosen, std::max<std::size_t>(chosen / 2, 1), perResource};
}

FairQueue::Share FairQueue::shareOf(const FairGroup& group, const std::string& resource) {
  return {group.kind == FairGroup::Kind::configured ? FairGroup{} : group, resource};
}

FairQueue::Ticket FairQueue::add(FairGroup group, std::string resource) {
  const Ticket ticket = nextTicket_++;
  lines_[group].waiting[resource].push_back(ticket);
  holders_.emplace(ticket, Holder{std::move(group), std::move(resource), false});
  return ticket;
}

bool FairQueue::groupHasRoom(const FairGroup& group, const Line& line) const {
  if (group.kind == FairGroup::Kind::configured) return true;
  return placedChosen_ < limits_.chosen && line.placed < limits_.chosenPerGroup;
}

std::optional<FairQueue::Ticket> FairQueue::takeFrom(const FairGroup& group, Line& line) {
  std::optional<Ticket> taken;
  visitAfter(line.waiting, line.lastResource, [&](auto& entry) {
    const auto placed = placedOf_.find(shareOf(group, entry.first));
    if (placed != placedOf_.end() && placed->second >= limits_.perResource) return false;
    taken = entry.second.front();
    return true;
  });
  if (!taken) return taken;
  auto& holder = holders_.at(*taken);
  holder.placed = true;
  ++placed_;
  ++line.placed;
  ++placedOf_[shareOf(group, holder.resource)];
  if (group.kind == FairGroup::Kind::chosen) ++placedChosen_;
  line.lastResource = holder.resource;
  const auto waiting = line.waiting.find(holder.resource);
  waiting->second.pop_front();
  if (waiting->second.empty()) line.waiting.erase(waiting);
  return taken;
}

std::optional<FairQueue::Ticket> FairQueue::next() {
  std::optional<Ticket> taken;
  if (placed_ >= limits_.total) return taken;
  visitAfter(lines_, lastGroup_, [&](auto& entry) {
    if (groupHasRoom(entry.first, entry.second)) taken = takeFrom(entry.first, entry.second);
    return taken.has_value();
  });
  if (taken) lastGroup_ = holders_.at(*taken).group;
  return taken;
}

void FairQueue::remove(Ticket ticket) {
  const auto found = holders_.find(ticket);
  if (found == holders_.end()) return;
  const auto& holder = found->second;
  const auto line = lines_.find(holder.group);
  if (holder.placed) {
    --placed_;
    --line->second.placed;
    if (holder.group.kind == FairGroup::Kind::chosen) --placedChosen_;
    const auto share = placedOf_.find(shareOf(holder.group, holder.resource));
    if (--share->second == 0) placedOf_.erase(share);
  } else {
    const auto waiting = line->second.waiting.find(holder.resource);
    std::erase(waiting->second, ticket);
    if (waiting->second.empty()) line->second.waiting.erase(waiting);
  }
  if (line->second.placed == 0 && line->second.waiting.empty()) lines_.erase(line);
  holders_.erase(found);
}

bool FairQueue::othersWait(const FairGroup& group) const {
  return std::any_of(lines_.begin(), lines_.end(), [&](const auto& entry) {
    return entry.first.kind == group.kind && entry.first != group && !entry.second.waiting.empty();
  });
}

}  // namespace fallbackd
