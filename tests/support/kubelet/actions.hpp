// SPDX-License-Identifier: Apache-2.0
// What one sync does to a pod: kubelet's decision alone, without doing it.
#pragma once

#include "kubelet/status.hpp"

#include <functional>
#include <string>
#include <vector>

namespace fallbackd::e2e::model {

/// A container that runs and is not to go on as it is.
struct Kill {
  SeenContainer container;
  const ContainerDefinition* definition = nullptr;
  std::string message;
};

struct Actions {
  bool createSandbox = false;
  std::uint32_t sandboxAttempt = 0;
  bool stopPod = false;  // nothing runs and nothing shall run
  std::vector<Kill> kill;
  std::vector<const ContainerDefinition*> start;  // in this order
  std::vector<const SeenContainer*> resize;       // have no record of their resources
};

/// What the decision asks of others.
struct Judges {
  std::function<bool(const SeenContainer&)> failedLiveness;
  std::function<bool(const SeenContainer&)> failedStartup;
  std::function<bool(const SeenContainer&)> startupDone;
  std::function<bool(const std::string& container)> hasRecord;
};

/// The result points into `pod` and `seen`.
Actions actionsFor(const PodDefinition& pod, const PodSeen& seen, Version version, const Judges& judges);

}  // namespace fallbackd::e2e::model
