// SPDX-License-Identifier: Apache-2.0
// Writes what recoveries report about a pod as Kubernetes Events. On the daemon's loop; returns at once.
#pragma once

#include "app/pod_sources.hpp"
#include "recovery/pod_events.hpp"

namespace fallbackd::app {

class PodEventWriter final : public recovery::PodEvents {
 public:
  explicit PodEventWriter(PodSources& sources) : sources_(sources) {}

  void tell(const recovery::Target& target, recovery::PodEvent event) override;

 private:
  PodSources& sources_;
};

}  // namespace fallbackd::app
