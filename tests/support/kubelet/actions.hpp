// SPDX-License-Identifier: Apache-2.0
// What one sync does to a pod: only kubelet's decision, without its execution.
#pragma once

#include "kubelet/status.hpp"

#include <functional>
#include <string>
#include <vector>

namespace fallbackd::e2e::model {

/// A running container that must not continue as it is.
struct Kill {
  SeenContainer container;
  const ContainerDefinition* definition = nullptr;
  std::string message;
};

struct Actions {
  bool createSandbox = false;
  std::uint32_t sandboxAttempt = 0;
  bool stopPod = false;  // nothing runs and nothing should run
  std::vector<Kill> kill;
  std::vector<const ContainerDefinition*> start;  // in this order
  std::vector<const SeenContainer*> resize;       // there is no record of their resources
};

/// Judgements of other parts that the decision needs.
struct Judges {
  std::function<bool(const SeenContainer&)> failedLiveness;
  std::function<bool(const SeenContainer&)> failedStartup;
  std::function<bool(const SeenContainer&)> startupDone;
  std::function<bool(const std::string& container)> hasRecord;
};

/// The result points into `pod` and `seen`.
Actions actionsFor(const PodDefinition& pod, const PodSeen& seen, Version version, const Judges& judges);

}  // namespace fallbackd::e2e::model
