// SPDX-License-Identifier: Apache-2.0
// What the model did, in order. Reasons and texts are those of kubelet's events where kubelet has such an
// event.
#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e::model {

struct Event {
  Stamp at;
  std::string pod;        // its name
  std::string container;  // empty: the pod as a whole
  std::string reason;     // "Pulling", "Failed", "BackOff", "Started", "Killing", "Unhealthy" ...
  std::string message;
};

/// Thread-safe.
class EventLog {
 public:
  void add(const std::string& pod, const std::string& container, const std::string& reason,
           const std::string& message);

  using Matches = std::function<bool(const Event&)>;
  /// The first matching event, past or future; empty: there was none within the ceiling.
  std::optional<Event> waitFor(const Matches& matches, std::chrono::nanoseconds ceiling);
  std::optional<Event> waitFor(const std::string& pod, const std::string& reason,
                               std::chrono::nanoseconds ceiling);
  /// Waits until there are `count` such events.
  bool waitForCount(const std::string& pod, const std::string& reason, std::size_t count,
                    std::chrono::nanoseconds ceiling);

  [[nodiscard]] std::vector<Event> of(const std::string& pod, const std::string& reason) const;
  /// For the message of a failed test.
  [[nodiscard]] std::string text() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::vector<Event> events_;  // guarded by mutex_
};

}  // namespace fallbackd::e2e::model
