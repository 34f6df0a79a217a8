// SPDX-License-Identifier: Apache-2.0
// Whether Kubernetes sees a fallback run, as data: shown in status and explain.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fallbackd::recovery {

struct Settlement {
  enum class State : std::uint8_t {
    refused,   // a stand-in may do harm, or is not configured
    held,      // not yet: a rollout is under way, or kubelet would not start the container yet
    settled,   // a stand-in runs
    leaving,   // the stand-in was removed, so that kubelet makes the real container
    rejected,  // kubelet ended it before it can have adopted it
    failed,    // it could not be made
  };
  State state = State::refused;
  std::string why;
  std::string container = {};  // id of the stand-in; empty if there is none
  friend bool operator==(const Settlement&, const Settlement&) = default;
};
std::string_view toString(Settlement::State state);

}  // namespace fallbackd::recovery
