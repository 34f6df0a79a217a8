// SPDX-License-Identifier: Apache-2.0
// Whether a pod's revision has been rolled out, from its owner's own object. Pure functions.
#pragma once

#include "kube/pod_object.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::kube {

enum class Rollout : std::uint8_t {
  complete,     // no healthy pod of another revision waits to be replaced by this one
  in_progress,  // this pod is of a revision that replaces another one now
  unknown,      // the owner does not tell, or is of a kind that we do not know
};
std::string_view toString(Rollout rollout);

struct RolloutView {
  Rollout rollout = Rollout::unknown;
  /// Whether any pod of the owner is ready. The pod in question is not: it waits. Absent: not known.
  std::optional<bool> anyReady;
  /// Whether a pod of another revision than this one's is ready. Absent: not known.
  std::optional<bool> otherRevisionReady;
  std::string why;  // for explain: a sentence without its end
};

/// The pod's controller, and that one's controller if it is a Deployment. Null: it could not be had.
struct Owners {
  const boost::json::object* controller = nullptr;
  const boost::json::object* deployment = nullptr;
};

RolloutView rolloutOf(const PodObject& pod, const Owners& owners);

}  // namespace fallbackd::kube
