// Whose turn it is, where many want a bounded number of places. Groups take turns, so that one with a
// thousand waiters delays another by one turn and not by a thousand; part of the places is kept for the
// operator's own. Only decides; fair_gate.hpp does the waiting. Not thread-safe.
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

/// Those who share one turn.
struct FairGroup {
  enum class Kind : std::uint8_t {
    configured,  // what the operator's configuration asks for
    chosen,      // what a pod's author asks for: never gets the places that are kept
  };
  Kind kind = Kind::configured;
  std::string name;  // the namespace
  friend auto operator<=>(const FairGroup&, const FairGroup&) = default;
};

/// Numbers of places. One at least must be free for each kind, or nobody ever gets one.
struct FairLimits {
  std::size_t total = 1;
  std::size_t chosen = 1;          // what all groups of kind chosen may have together
  std::size_t chosenPerGroup = 1;  // what one of them may have
  /// What a resource may have: all configured groups together, and each chosen group for itself.
  std::size_t perResource = SIZE_MAX;

  /// Half of the places are kept for what is configured; one chosen group gets half of the others at most.
  static FairLimits of(std::size_t total, std::size_t perResource = SIZE_MAX);
};

class FairQueue {
 public:
  using Ticket = std::uint64_t;

  explicit FairQueue(FairLimits limits) : limits_(limits) {}

  /// Nobody loses a place by this.
  void reconfigure(FairLimits limits) { limits_ = limits; }

  /// Joins the queue of its group. One whose resource has no place left is passed over, not waited for.
  Ticket add(FairGroup group, std::string resource);
  /// The next one that gets a place, and has it from now on; nothing where nobody can have one.
  std::optional<Ticket> next();
  /// Gives the place back, or leaves the queue.
  void remove(Ticket ticket);

  [[nodiscard]] std::size_t waiting() const { return holders_.size() - placed_; }
  [[nodiscard]] std::size_t placed() const { return placed_; }
  /// Whether another group of the same kind waits.
  [[nodiscard]] bool othersWait(const FairGroup& group) const;

 private:
  struct Holder {
    FairGroup group;
    std::string resource;
    bool placed = false;
  };
  struct Line {
    std::map<std::string, std::deque<Ticket>> waiting;  // by resource; these take turns as well
    std::string lastResource;                           // that got a place
    std::size_t placed = 0;
  };
  using Share = std::pair<FairGroup, std::string>;  // of a resource; all configured groups have one share

  static Share shareOf(const FairGroup& group, const std::string& resource);
  [[nodiscard]] bool groupHasRoom(const FairGroup& group, const Line& line) const;
  std::optional<Ticket> takeFrom(const FairGroup& group, Line& line);

  FairLimits limits_;
  std::map<FairGroup, Line> lines_;
  FairGroup lastGroup_;  // that got a place
  std::map<Ticket, Holder> holders_;
  std::map<Share, std::size_t> placedOf_;
  std::size_t placed_ = 0;
  std::size_t placedChosen_ = 0;
  Ticket nextTicket_ = 1;
};

}  // namespace fallbackd
