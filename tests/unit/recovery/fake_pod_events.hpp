// SPDX-License-Identifier: Apache-2.0
// Records the Events of pods.
#pragma once

#include "recovery/pod_events.hpp"

#include <string>
#include <vector>

namespace fallbackd::test {

struct FakePodEvents final : recovery::PodEvents {
  void tell(const recovery::Target& target, recovery::PodEvent event) override {
    reasons.emplace_back(toString(event.reason));
    targets.push_back(target);
    events.push_back(std::move(event));
  }
  std::vector<std::string> reasons;
  std::vector<recovery::Target> targets;
  std::vector<recovery::PodEvent> events;
};

}  // namespace fallbackd::test
