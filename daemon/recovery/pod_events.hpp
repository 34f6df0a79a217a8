// SPDX-License-Identifier: Apache-2.0
// What people who look at a pod learn: the same transitions as in log and metrics, in sentences. This folder
// does not know the receiver; the daemon writes them as Kubernetes Events (docs/events.md).
#pragma once

#include "launcher/launcher.hpp"
#include "recovery/incident.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::recovery {

// clang-format off
/// Each with its name and whether it is a warning. The names are stable: alerts and scripts match them.
#define FALLBACKD_POD_EVENTS(X) \
  X(waits_for_image, "WaitsForImage", warning) \
  X(waits_for_start, "WaitsForStart", warning) \
  X(fallback_serving, "FallbackServing", normal) \
  X(fallback_exited, "FallbackExited", warning) \
  X(fallback_unhealthy, "FallbackUnhealthy", warning) \
  X(fallback_handed_back, "FallbackHandedBack", normal) \
  X(fallback_completed, "FallbackCompleted", normal) \
  X(fallback_not_needed, "FallbackNotNeeded", normal) \
  X(fallback_refused, "FallbackRefused", warning) \
  X(fallback_failed, "FallbackFailed", warning) \
  X(fallback_paused, "FallbackPaused", warning) \
  X(fallback_observed, "FallbackObserved", normal)
// clang-format on

enum class PodEventReason : std::uint8_t {
#define X(name, text, type) name,
  FALLBACKD_POD_EVENTS(X)
#undef X
};
std::string_view toString(PodEventReason reason);
bool isWarning(PodEventReason reason);

struct PodEvent {
  PodEventReason reason = PodEventReason::waits_for_image;
  std::string series;   // events with the same container, reason and series are repeats
  std::string message;  // for people; may contain what containerd said
};

/// Receives what the recoveries report. Called on the daemon's loop, within a recovery: must not block.
class PodEvents {
 public:
  PodEvents() = default;
  PodEvents(const PodEvents&) = delete;
  PodEvents& operator=(const PodEvents&) = delete;
  virtual ~PodEvents() = default;

  virtual void tell(const Target& target, PodEvent event) = 0;
};

/// Why a container waits, now that its fallback is due. Of what was learnt through another pod, it has only
/// what does not name that pod's image or namespace.
struct Wait {
  Cause cause = Cause::unknown;
  const std::string& words;  // containerd's
  enum class Learnt : std::uint8_t { from_this_pod, from_another } learnt = Learnt::from_this_pod;
};
PodEvent waits(const Wait& wait, const BinaryRef& binary);

/// The incident has just become ready.
PodEvent serving(const Incident& incident);
PodEvent exited(const Incident& incident, const launcher::ExitStatus& status);
PodEvent unhealthy(const Incident& incident, unsigned failures, const Error& error);
/// The incident is over. There is no event for a pod that is gone.
std::optional<PodEvent> ended(const Incident& incident);
/// It would not have been started, or was not.
PodEvent refused(const BinaryRef& binary, const Error& error);

PodEvent paused(const BinaryRef& binary, const std::string& reason);
PodEvent observed(const BinaryRef& binary, std::chrono::nanoseconds after);
PodEvent observedRefusal(const BinaryRef& binary, const Error& error);

}  // namespace fallbackd::recovery
