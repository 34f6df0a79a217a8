// SPDX-License-Identifier: Apache-2.0
// Decides which stand-in may make way for the real container. While it does, its pod is not Ready. So that a
// Service keeps endpoints, only a quarter of a workload's stand-ins on this node make way at a time, but at
// least one. On the daemon's loop.
#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace fallbackd::recovery {

class Departures {
 public:
  /// Whether the pod is Ready with its real container; nothing: not known.
  using IsReady = std::function<std::optional<bool>()>;

 private:
  struct Away {
    [[nodiscard]] bool isOver(Stamp now);

    Stamp until;
    bool back = false;  // it was given back, and rests
    Stamp backAt{};
    IsReady isReady = nullptr;
    std::optional<Stamp> readySince = {};
  };
  struct Group {
    void expire(Stamp now);
    std::size_t running = 0;
    std::map<std::uint64_t, Away> away;  // by the number of the place
    std::uint64_t next = 0;
    bool stalled = false;  // a place expired, and no container has come since it was taken
    Stamp nextTry = Stamp::min();
    Stamp succeeded = Stamp::min();
  };

 public:
  /// How long a pod counts as not Ready after its recovery has ended, at least: kubelet's relist, a probe,
  /// and what a Service needs to route to it.
  static constexpr std::chrono::seconds kRest{3};

  /// The same once it is known to be Ready: what a Service needs.
  static constexpr std::chrono::seconds kRouted{1};

  /// How long to wait for the real container. If none has come by then, the workload's others stay until one
  /// comes.
  static constexpr std::chrono::seconds kLimit{60};
  /// Even so, after this time one more tries: the pod whose container did not come may be gone.
  static constexpr std::chrono::minutes kStalled{10};

  /// Held while a stand-in is away. Destroying it frees the place after a rest; if it is known whether the
  /// pod is Ready, kRouted after it is; in any case after kLimit.
  class Place {
   public:
    Place(const Clock& clock, std::shared_ptr<Group> group, std::uint64_t number,
          std::chrono::nanoseconds rest)
        : clock_(&clock), group_(std::move(group)), number_(number), rest_(rest) {}
    Place(Place&&) noexcept = default;
    Place& operator=(Place&& other) noexcept {
      std::swap(clock_, other.clock_);
      std::swap(group_, other.group_);
      std::swap(number_, other.number_);
      std::swap(rest_, other.rest_);
      return *this;
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place();
    /// kLimit starts again.
    void renew();

   private:
    const Clock* clock_;
    std::shared_ptr<Group> group_;
    std::uint64_t number_ = 0;
    std::chrono::nanoseconds rest_{};
  };

  explicit Departures(const Clock& clock) : clock_(clock) {}

  /// One more, or one fewer, stand-in of this workload runs.
  void runs(const std::string& workload, int change);
  /// Nothing: not yet. With the place the stand-in counts as away, and no longer as one that runs. `rest`:
  /// what its pod needs to become Ready, if that is more than kRest. `isReady`: null if it is never known.
  [[nodiscard]] std::optional<Place> leave(const std::string& workload, std::chrono::nanoseconds rest = kRest,
                                           IsReady isReady = nullptr);
  /// leave() would give a place.
  [[nodiscard]] bool hasRoom(const std::string& workload);
  /// A real container of this workload has come.
  void succeeded(const std::string& workload);
  /// One made way in vain, and none has succeeded since.
  [[nodiscard]] bool stalled(const std::string& workload) const;

 private:
  Group& groupOf(const std::string& workload);

  const Clock& clock_;
  std::map<std::string, std::shared_ptr<Group>> groups_;  // by namespace and workload
};

}  // namespace fallbackd::recovery
