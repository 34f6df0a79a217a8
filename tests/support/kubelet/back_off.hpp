// SPDX-License-Identifier: Apache-2.0
// Kubelet's back-off: doubles at each failure up to a maximum; forgotten after twice the maximum.
#pragma once

#include "base/clock.hpp"
#include "kubelet/definition.hpp"

#include <map>
#include <string>

namespace fallbackd::e2e::model {

/// Used by one thread, or guarded by its owner.
class BackOff {
 public:
  BackOff(Millis first, Millis maximum) : first_(first), maximum_(maximum) {}

  /// Whether the back-off since the last failure still runs.
  [[nodiscard]] bool active(const std::string& key, Stamp now) const {
    const auto found = entries_.find(key);
    return found != entries_.end() && now - found->second.updated < found->second.length;
  }
  /// The same if it began `ago`.
  [[nodiscard]] bool activeSince(const std::string& key, Monotonic::duration ago) const {
    const auto found = entries_.find(key);
    return found != entries_.end() && ago < found->second.length;
  }
  void next(const std::string& key, Stamp now) {
    auto& entry = entries_[key];
    const bool fresh = entry.length == Millis(0) || now - entry.updated > 2 * maximum_;
    entry.length = fresh ? first_ : std::min(2 * entry.length, maximum_);
    entry.updated = now;
  }
  [[nodiscard]] Millis length(const std::string& key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() ? Millis(0) : found->second.length;
  }

 private:
  struct Entry {
    Millis length{0};
    Stamp updated{};
  };
  Millis first_;
  Millis maximum_;
  std::map<std::string, Entry> entries_;
};

}  // namespace fallbackd::e2e::model
