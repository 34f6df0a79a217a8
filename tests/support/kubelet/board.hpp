// SPDX-License-Identifier: Apache-2.0
// The statuses that kubelet has reported, and the probe results in them: kubelet's status manager and its
// results managers.
#pragma once

#include "kubelet/event_log.hpp"
#include "kubelet/status.hpp"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

namespace fallbackd::e2e::model {

enum class ProbeType : std::uint8_t { startup, readiness, liveness };

/// Thread-safe. Listeners are called in the order of the changes, on the thread that made the change.
class Board {
 public:
  explicit Board(EventLog& log) : log_(log) {}

  using Listener = std::function<void(const PodStatus&)>;
  /// The listener also receives the current statuses.
  void subscribe(Listener listener);

  /// Adds the probes' results.
  void publish(const PodDefinition& pod, PodStatus status);
  void publishDeleting(const PodDefinition& pod);
  void publishGone(const PodDefinition& pod);
  void setResult(const PodDefinition& pod, const std::string& containerId, ProbeType type, bool success);
  [[nodiscard]] std::optional<bool> result(const std::string& containerId, ProbeType type) const;

  [[nodiscard]] std::optional<PodStatus> find(const std::string& uid) const;
  using Holds = std::function<bool(const PodStatus&)>;
  bool waitFor(const std::string& uid, const Holds& holds, std::chrono::nanoseconds ceiling) const;
  /// Returns when the pod's status has changed since `version`, at `until`, or when stopped.
  void waitForChange(const std::string& uid, std::uint64_t version, Stamp until,
                     const std::stop_token& stop) const;
  [[nodiscard]] std::uint64_t version(const std::string& uid) const;

 private:
  struct Entry {
    std::optional<PodStatus> status;
    std::uint64_t version = 0;
    std::condition_variable_any changed;
  };
  void addProbes(const PodDefinition& pod, PodStatus& status) const;
  void update(const PodDefinition& pod, PodStatus status);
  std::shared_ptr<Entry> entry(const std::string& uid) const;

  EventLog& log_;
  std::mutex order_;  // of the changes: held while listeners are called
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<Entry>> pods_;  // by uid; guarded by mutex_
  std::map<std::pair<std::string, ProbeType>, bool> results_;   // by container id; guarded by mutex_
  std::vector<Listener> listeners_;                             // guarded by order_
};

}  // namespace fallbackd::e2e::model
