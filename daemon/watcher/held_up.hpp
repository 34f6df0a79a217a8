// SPDX-License-Identifier: Apache-2.0
// What holds kubelet up while it does not create a container whose image is on the node, as far as that is
// known. It pulls one image at a time (serializeImagePulls, the default), so a pull that has stalled blocks
// those behind it; and it waits longer and longer after pulls that failed. Pure: stamps are handed in.
#pragma once

#include "base/clock.hpp"
#include "watcher/registry_health.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace fallbackd::watcher {

/// The pull of an image that a pod waits for, as a probe pull found it.
struct StalledPull {
  std::string image;
  std::string registry;
  std::string podNamespace;
  std::string pod;
  std::string container;
  Stamp since;  // when kubelet's pull began, as far as known; otherwise the first probe pull that stalled
  Scope scope;  // for whom this verdict counts
};

/// Kubelet's own pause after pulls of the container's image that failed.
struct BackOff {
  Stamp failed;  // when the last failure was seen
  Stamp until;   // kubelet does not pull before
};

using HeldUp = std::variant<StalledPull, BackOff>;

/// "pull" or "back_off": label value of metrics.
std::string_view wordOf(const HeldUp& heldUp);

/// A container whose pull may be blocked.
struct Blocked {
  std::string podNamespace;
  std::string image;
  /// Set if kubelet need not pull the image: then only the pulls of its own pod's other containers hold it
  /// up, which kubelet starts one after the other.
  std::optional<std::string> onlyInSandbox = {};
  /// Since when the container is missing: a pull that began later does not explain that.
  Stamp due = Stamp::max();
};

class StalledPulls {
 public:
  using Key = std::pair<std::string, std::string>;  // sandbox id, container name

  /// True if it was not known. An earlier `since` of the same image stays.
  bool add(const Key& key, StalledPull pull);
  bool remove(const Key& key) { return pulls_.erase(key) > 0; }
  void clear() { pulls_.clear(); }
  [[nodiscard]] bool contains(const Key& key) const { return pulls_.contains(key); }

  /// The pull of another image that has stalled longest and that began before the container was due. A
  /// verdict that counts for one namespace blocks no container elsewhere, unless a second namespace found a
  /// pull from the same registry stalled.
  [[nodiscard]] const std::pair<const Key, StalledPull>* blocking(const Blocked& blocked) const;

 private:
  [[nodiscard]] bool countsFor(const StalledPull& pull, const std::string& podNamespace) const;

  std::map<Key, StalledPull> pulls_;
};

/// Until when kubelet certainly does not pull the image again, where every pull from `first` (kubelet's first
/// one) to `lastFailure` failed at once; nothing if it may have pulled since. Assumes that kubelet was not
/// restarted.
std::optional<Stamp> backOffUntil(Stamp first, Stamp lastFailure);

}  // namespace fallbackd::watcher
