// SPDX-License-Identifier: Apache-2.0
// Whether a pod's revision has been rolled out, from its owner's object. Pure functions.
#pragma once

#include "kube/pod_object.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::kube {

enum class Rollout : std::uint8_t {
  complete,     // no pod of another revision is being replaced by this one
  in_progress,  // this pod's revision is replacing another one
  unknown,      // the owner does not show it, or is of an unknown kind
};
std::string_view toString(Rollout rollout);

struct RolloutView {
  Rollout rollout = Rollout::unknown;
  /// Whether any pod of the owner is ready; this one is waiting. Absent: not known.
  std::optional<bool> anyReady;
  /// Whether a pod of another revision is ready. Absent: not known.
  std::optional<bool> otherRevisionReady;
  /// Pods that the owner wants, and those that are ready. Absent: not known.
  std::optional<std::int64_t> wanted = {};
  std::optional<std::int64_t> ready = {};
  std::string why;  // for explain: a sentence without its full stop
};

/// The pod's controller, and that controller's own if it is a Deployment. Null: it could not be read.
struct Owners {
  const boost::json::object* controller = nullptr;
  const boost::json::object* deployment = nullptr;
};

RolloutView rolloutOf(const PodObject& pod, const Owners& owners);

}  // namespace fallbackd::kube
