// SPDX-License-Identifier: Apache-2.0
// When kubelet's back-off after failed pulls of a pod's image has run out for certain. With policy Always
// kubelet pulls again once a stand-in has made way, and refuses to while that back-off runs. Pure: stamps are
// handed in.
#pragma once

#include "base/clock.hpp"

#include <optional>

namespace fallbackd::recovery {

/// The rules are in docs/kubelet.md. Kubelet pulls only while no container of the pod runs: within windows.
/// The longest back-off that fits them is assumed; that of a restarted kubelet ends earlier.
class PullBackOff {
 public:
  /// The first window opens: no pull of this pod can have failed before. Absent: it may have waited for long.
  explicit PullBackOff(std::optional<Stamp> first);

  /// No pull fails after `last` (which may be later than now), until the next opened().
  void closed(Stamp last);
  /// Kubelet may pull again from now on.
  void opened(Stamp now);
  /// From this time on, kubelet's next pull begins at once.
  [[nodiscard]] Stamp over() const { return over_; }

 private:
  [[nodiscard]] Monotonic::duration length() const;

  int failures_ = 0;  // in a row, at most; their number determines the back-off
  Stamp next_;        // not before: the pull after these
  Stamp last_;        // not after: the last one of these
  Stamp over_;
};

}  // namespace fallbackd::recovery
