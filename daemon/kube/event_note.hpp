// SPDX-License-Identifier: Apache-2.0
// What happened to a container of a pod, as a Kubernetes Event of core/v1, the kind that kubelet's recorder
// sends: kubectl describe and event collectors show it beside kubelet's, with count and times. An Event of
// events.k8s.io/v1 would lack the times by which many of them sort.
#pragma once

#include "base/clock.hpp"

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace fallbackd::kube {

struct EventNote {
  enum class Type : std::uint8_t { normal, warning };

  std::string namespaceName;
  std::string pod;
  std::string podUid;
  std::string container;
  Type type = Type::normal;
  std::string reason;  // FallbackStarted
  std::string series;  // notes of one container, reason and series are one Event, which counts them
  std::string message;
  Wall::time_point at;
};

/// Which notes are one Event.
struct EventKey {
  std::string podUid;
  std::string container;
  std::string reason;
  std::string series;
  friend auto operator<=>(const EventKey&, const EventKey&) = default;
};
EventKey keyOf(const EventNote& note);

/// Notes of one key that have not been sent.
struct EventBatch {
  EventNote note;  // the latest
  Wall::time_point first;
  std::uint64_t count = 1;
};

inline constexpr std::size_t kMaxEventMessage = 1024;  // bytes; what the API accepts for a note

/// One line of valid UTF-8, at most kMaxEventMessage bytes, without what could be a secret: credentials and
/// queries in URLs, and tokens.
std::string eventMessage(std::string_view text);

/// POD.NUMBER, a valid DNS name however long the pod's name is. The number makes it unique in its namespace.
std::string eventName(std::string_view pod, std::uint64_t number);

/// The Event to create, as JSON.
std::string eventObject(const EventBatch& batch, const std::string& name, const std::string& nodeName);

/// The change of an existing Event: its count, its latest time and its message.
std::string eventPatch(const EventBatch& batch, std::uint64_t count);

}  // namespace fallbackd::kube
