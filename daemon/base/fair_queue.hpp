// SPDX-License-Identifier: Apache-2.0
// Decides whose turn it is when many want one of a limited number of places. Groups take turns, so that a
// group with a thousand waiters delays a different group by one turn, not by a thousand; some places are
// reserved for the operator's own work. Only decides; fair_gate.hpp does the waiting. Not thread-safe.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace fallbackd {

/// Waiters that share one turn.
struct FairGroup {
  enum class Kind : std::uint8_t {
    configured,  // requested by the operator's configuration
    chosen,      // requested by a pod's author: never gets the reserved places
  };
  Kind kind = Kind::configured;
  std::string name;  // the namespace
  friend auto operator<=>(const FairGroup&, const FairGroup&) = default;
};

/// Numbers of places. Each kind needs at least one, or its waiters never get a place.
struct FairLimits {
  std::size_t total = 1;
  std::size_t chosen = 1;          // all groups of kind chosen together
  std::size_t chosenPerGroup = 1;  // one such group
  /// Limit per resource: all configured groups together, and each chosen group separately.
  std::size_t perResource = SIZE_MAX;

  /// Reserves half of the places for configured groups; one chosen group gets at most half of the others.
  static FairLimits of(std::size_t total, std::size_t perResource = SIZE_MAX);
};

class FairQueue {
 public:
  using Ticket = std::uint64_t;

  explicit FairQueue(FairLimits limits) : limits_(limits) {}

  /// Tickets that hold a place keep it.
  void reconfigure(FairLimits limits) { limits_ = limits; }

  /// Joins the queue of its group. A ticket whose resource is full is passed over; the queue does not wait
  /// for it.
  Ticket add(FairGroup group, std::string resource);
  /// The next ticket, which now holds a place; empty if none can have one.
  std::optional<Ticket> next();
  /// Returns the place, or leaves the queue.
  void remove(Ticket ticket);

  [[nodiscard]] std::size_t waiting() const { return holders_.size() - placed_; }
  [[nodiscard]] std::size_t placed() const { return placed_; }
  /// Whether another group of the same kind is waiting.
  [[nodiscard]] bool othersWait(const FairGroup& group) const;

 private:
  struct Holder {
    FairGroup group;
    std::string resource;
    bool placed = false;
  };
  struct Line {
    std::map<std::string, std::deque<Ticket>> waiting;  // by resource; resources take turns, too
    std::string lastResource;                           // the last one that got a place
    std::size_t placed = 0;
  };
  using Share = std::pair<FairGroup, std::string>;  // of a resource; all configured groups have one share

  static Share shareOf(const FairGroup& group, const std::string& resource);
  [[nodiscard]] bool groupHasRoom(const FairGroup& group, const Line& line) const;
  std::optional<Ticket> takeFrom(const FairGroup& group, Line& line);

  FairLimits limits_;
  std::map<FairGroup, Line> lines_;
  FairGroup lastGroup_;  // the last one that got a place
  std::map<Ticket, Holder> holders_;
  std::map<Share, std::size_t> placedOf_;
  std::size_t placed_ = 0;
  std::size_t placedChosen_ = 0;
  Ticket nextTicket_ = 1;
};

}  // namespace fallbackd
