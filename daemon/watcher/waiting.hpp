// SPDX-License-Identifier: Apache-2.0
// What is known about a container that kubelet has not created yet.
#pragma once

#include "base/clock.hpp"
#include "cri/types.hpp"
#include "domain/cause.hpp"
#include "watcher/held_up.hpp"
#include "watcher/match.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::watcher {

/// A container that is not there yet, and what is known about it.
struct Waiting {
  enum class State : std::uint8_t {
    asking,                 // nothing is known yet
    failed,                 // its image cannot be pulled: see cause
    undecided,              // a pull failed in a way that says nothing about kubelet's own
    image_present,          // kubelet can create it
    not_started,            // it could, but did not within startTimeout
    after_init_containers,  // it is not its turn yet
    never_pulled,           // its pull policy is Never
    not_specified,          // its pod's specification is not known, and its workload needs it
  };
  cri::Sandbox sandbox;
  WorkloadPtr workload;
  Stamp since;
  State state = State::asking;
  Cause cause = Cause::unknown;  // of failed, undecided and not_started
  std::string text;
  std::optional<std::chrono::nanoseconds> verdictTook;  // where there was a verdict
  std::optional<HeldUp> heldUp = {};                    // of not_started; absent where nothing is known
  std::optional<Stamp> imageSince = {};                 // when the image was first seen on the node
  std::string trouble = {};                             // why there were no credentials, if so
};

/// As people and programs read it in the status: "image present".
std::string_view toString(Waiting::State state);

}  // namespace fallbackd::watcher
