// SPDX-License-Identifier: Apache-2.0
// Kubelet's relist (PLEG): lists everything in the CRI once a second, finds the sandboxes and containers of
// its pods by their labels, and wakes the workers of those that changed. Kubelet learns of no change earlier.
#pragma once

#include "kubelet/event_log.hpp"
#include "kubelet/status.hpp"

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace fallbackd::e2e::model {

/// Thread-safe; has its own thread.
class Relist {
 public:
  /// `onStranger` gets running containers in a pod's sandbox that do not have the pod's uid.
  Relist(Runtime& runtime, EventLog& log, Millis period,
         std::function<void(const SeenContainer&)> onStranger);
  Relist(const Relist&) = delete;
  Relist& operator=(const Relist&) = delete;
  ~Relist();

  void follow(const std::string& uid, std::function<void()> onChange);
  void unfollow(const std::string& uid);
  /// The pod as of a relist that began after `then`: waits for it. Empty: stopped.
  std::optional<PodSeen> newerThan(const std::string& uid, Stamp then, const std::stop_token& stop);
  /// The pod now, from the CRI itself.
  [[nodiscard]] Result<PodSeen> look(const std::string& uid) const;
  /// The number of relists so far.
  [[nodiscard]] std::uint64_t count() const;
  /// Waits for a relist that begins after this call to end; false: not within the ceiling.
  bool waitForNext(std::chrono::nanoseconds ceiling);

 private:
  struct Followed {
    std::function<void()> onChange;
    PodSeen seen;
    std::string digest;
  };
  void run(const std::stop_token& stop);
  void relist();
  [[nodiscard]] PodSeen detailed(PodSeen listed) const;

  Runtime& runtime_;
  EventLog& log_;
  Millis period_;
  std::function<void(const SeenContainer&)> onStranger_;
  mutable std::mutex mutex_;
  std::condition_variable_any relisted_;
  std::map<std::string, Followed> pods_;  // by uid; guarded by mutex_
  std::optional<Stamp> began_;            // the last complete relist; guarded by mutex_
  std::uint64_t count_ = 0;               // guarded by mutex_
  std::jthread thread_;
};

}  // namespace fallbackd::e2e::model
