// SPDX-License-Identifier: Apache-2.0
// Whose turn it is to make way for the real container. While one does, its pod is not Ready; so that a
// Service keeps endpoints, of four stand-ins of a workload on this node one does at a time, and of fewer one
// as well. On the daemon's loop.
#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace fallbackd::recovery {

class Departures {
  struct Group {
    std::size_t running = 0;
    std::map<std::uint64_t, Stamp> away;  // until when, by the number of the place
    std::uint64_t next = 0;
  };

 public:
  /// How long after its recovery has ended a pod is taken for not Ready: kubelet's relist, a probe, and what
  /// a Service needs to route to it.
  static constexpr std::chrono::seconds kRest{3};

  /// A pod that is away for longer holds nobody up.
  static constexpr std::chrono::seconds kLimit{60};

  /// Held while a stand-in is away. Its end frees the place after kRest, kLimit in any case.
  class Place {
   public:
    Place(const Clock& clock, std::shared_ptr<Group> group, std::uint64_t number)
        : clock_(&clock), group_(std::move(group)), number_(number) {}
    Place(Place&&) noexcept = default;
    Place& operator=(Place&& other) noexcept {
      std::swap(clock_, other.clock_);
      std::swap(group_, other.group_);
      std::swap(number_, other.number_);
      return *this;
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place();
    /// kLimit counts from now on.
    void renew();

   private:
    const Clock* clock_;
    std::shared_ptr<Group> group_;
    std::uint64_t number_ = 0;
  };

  explicit Departures(const Clock& clock) : clock_(clock) {}

  /// One more, or one less, stand-in of this workload runs.
  void runs(const std::string& workload, int change);
  /// Nothing: not yet. With the place the stand-in counts as away, and no more as one that runs.
  [[nodiscard]] std::optional<Place> leave(const std::string& workload);

 private:
  Group& groupOf(const std::string& workload);

  const Clock& clock_;
  std::map<std::string, std::shared_ptr<Group>> groups_;  // by workload
};

}  // namespace fallbackd::recovery
