// SPDX-License-Identifier: Apache-2.0
// A pod's status as reported by kubelet: what a user sees in kubectl, and what Services use.
#pragma once

#include "kubelet/definition.hpp"
#include "kubelet/runtime.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e::model {

struct ContainerState {
  enum class Kind : std::uint8_t { waiting, running, terminated };
  Kind kind = Kind::waiting;
  std::string reason;   // waiting: "ImagePullBackOff"; terminated: "Completed", "Error", "OOMKilled"
  std::string message;  // of a waiting container
  int exitCode = 0;     // of a terminated container: 128 + signal if a signal ended it, as in the CRI
  std::int64_t startedAt = 0;
  std::int64_t finishedAt = 0;
  bool operator==(const ContainerState&) const = default;
};

struct ContainerStatus {
  std::string name;
  Role role = Role::regular;
  std::string image;    // the runtime's name for it
  std::string imageId;  // the CRI's image_ref
  std::string containerId;
  int restartCount = 0;
  bool started = false;
  bool ready = false;
  ContainerState state;
  std::optional<ContainerState> last;
  bool operator==(const ContainerStatus&) const = default;
  [[nodiscard]] bool running() const { return state.kind == ContainerState::Kind::running; }
};

enum class Phase : std::uint8_t { pending, running, succeeded, failed };

struct PodStatus {
  std::string uid;
  std::string name;
  std::map<std::string, std::string> labels;
  std::string ip;
  Phase phase = Phase::pending;
  bool ready = false;
  bool deleting = false;
  bool gone = false;  // the last status of a pod
  std::vector<ContainerStatus> containers;
  bool operator==(const PodStatus&) const = default;
  [[nodiscard]] const ContainerStatus* container(const std::string& containerName) const;
  /// "0/1 ImagePullBackOff, restarts 0": as in kubectl get pods.
  [[nodiscard]] std::string text() const;
};

/// The pod in the CRI at one moment; both lists are sorted, the newest first.
struct PodSeen {
  std::vector<SeenSandbox> sandboxes;
  std::vector<SeenContainer> containers;
  /// The newest container of this name.
  [[nodiscard]] const SeenContainer* newest(const std::string& name) const;
  [[nodiscard]] const SeenSandbox* readySandbox() const;
};

/// The reason why a container waits, by its name.
using Reasons = std::map<std::string, ContainerState>;

/// The status without probe results. `previous` is the pod's last status.
PodStatus statusOf(const PodDefinition& pod, const PodSeen& seen, const Reasons& reasons,
                   const std::optional<PodStatus>& previous, Version version);

/// Whether kubelet would start it again, by the policy and by how it ended.
bool toBeRestarted(const PodDefinition& pod, const ContainerDefinition& container, const SeenContainer* seen);

}  // namespace fallbackd::e2e::model
