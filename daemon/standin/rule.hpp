// SPDX-License-Identifier: Apache-2.0
// Whether the fallback of a container gets a stand-in. The harm that it can do: a rollout mistakes pods that
// run stand-ins for healthy ones, and replaces what still works. Pure.
#pragma once

#include "config/model.hpp"
#include "kube/pod_spec.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace fallbackd::standin {

/// What the pod's owner reports about its rollout.
struct RolloutFacts {
  enum class State : std::uint8_t { complete, in_progress, unknown };
  State state = State::unknown;
  std::optional<bool> otherRevisionReady;  // whether a pod of another revision is ready; absent: not known
  std::string why;
};

struct Ruling {
  enum class Kind : std::uint8_t {
    settle,
    hold,    // not now: it may be allowed later
    refuse,  // not for this pod, as long as no source describes it otherwise
  };
  Kind kind = Kind::refuse;
  std::string why;        // a clause without its full stop
  bool notKnown = false;  // refused because a fact is missing; it may become known
};

/// `pod`: its specification; null: not known. `rollout`: absent: its owner has not answered.
Ruling rule(config::Settle settle, const config::Workload& workload, const kube::Pod* pod,
            const std::optional<RolloutFacts>& rollout);

}  // namespace fallbackd::standin
