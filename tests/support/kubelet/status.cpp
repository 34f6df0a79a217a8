// SPDX-License-Identifier: Apache-2.0
#include "kubelet/status.hpp"

#include <algorithm>

namespace fallbackd::e2e::model {

namespace {

using Kind = ContainerState::Kind;

ContainerState endOf(const SeenContainer& seen) {
  return {Kind::terminated, seen.reason, "", seen.exitCode, seen.startedAt, seen.finishedAt};
}

/// A container that was running and that the runtime no longer knows.
void addVanished(const ContainerStatus& old, Version version, bool deleting, ContainerStatus& status) {
  if (!old.running() || status.last) return;
  status.last = ContainerState{Kind::terminated, "ContainerStatusUnknown", "", 137, 0, 0};
  // Measured: 1.36 counts it as a restart, 1.33 does not.
  if (!deleting && version >= Version::v1_36) ++status.restartCount;
}

ContainerStatus waitingStatus(const ContainerDefinition& container, const ContainerStatus* old,
                              bool hasInit) {
  ContainerStatus status;
  status.name = container.spec.name;
  status.role = container.role;
  status.image = container.spec.image;
  status.state.reason = hasInit && container.role == Role::regular ? "PodInitializing" : "ContainerCreating";
  if (old == nullptr) return status;
  status.restartCount = old->restartCount;
  status.last = old->last;
  return status;
}

void fillFrom(const SeenContainer& seen, ContainerStatus& status) {
  status.image = seen.image;
  status.imageId = seen.imageRef;
  status.containerId = seen.id;
  status.restartCount = seen.restartCount();
  if (seen.state == RunState::running) {
    status.state = {Kind::running, "", "", 0, seen.startedAt, 0};
  } else if (seen.state == RunState::exited) {
    status.state = endOf(seen);
  }
}

/// The end of the last container before the newest one.
std::optional<ContainerState> earlierEnd(const PodSeen& seen, const std::string& name) {
  bool newest = true;
  for (const auto& one : seen.containers) {
    if (one.name() != name) continue;
    if (!newest && one.state == RunState::exited) return endOf(one);
    newest = false;
  }
  return std::nullopt;
}

Phase phaseOf(const PodDefinition& pod, const PodStatus& status) {
  int running = 0;
  int waiting = 0;
  int stopped = 0;
  int succeeded = 0;
  for (const auto& one : status.containers) {
    if (one.role != Role::regular) {
      if (one.role == Role::init && one.state.kind == Kind::terminated && one.state.exitCode != 0 &&
          pod.restart == RestartPolicy::never)
        return Phase::failed;
      continue;
    }
    running += one.running() ? 1 : 0;
    const bool ended = one.state.kind == Kind::terminated || (!one.running() && one.last);
    stopped += ended ? 1 : 0;
    succeeded += one.state.kind == Kind::terminated && one.state.exitCode == 0 ? 1 : 0;
    waiting += !ended && !one.running() ? 1 : 0;
  }
  if (waiting > 0) return Phase::pending;
  if (running > 0 || pod.restart == RestartPolicy::always) return Phase::running;
  if (stopped == succeeded) return Phase::succeeded;
  return pod.restart == RestartPolicy::never ? Phase::failed : Phase::running;
}

}  // namespace

const ContainerStatus* PodStatus::container(const std::string& containerName) const {
  const auto found = std::find_if(containers.begin(), containers.end(),
                                  [&](const auto& one) { return one.name == containerName; });
  return found == containers.end() ? nullptr : &*found;
}

std::string PodStatus::text() const {
  int readyOnes = 0;
  int all = 0;
  int restarts = 0;
  std::string reason = deleting ? "Terminating" : "Running";
  for (const auto& one : containers) {
    if (one.role == Role::init) continue;
    ++all;
    readyOnes += one.ready ? 1 : 0;
    restarts += one.restartCount;
    if (!one.running() && !deleting) reason = one.state.reason;
  }
  return std::to_string(readyOnes) + "/" + std::to_string(all) + " " + reason + ", restarts " +
         std::to_string(restarts);
}

const SeenContainer* PodSeen::newest(const std::string& name) const {
  const auto found =
      std::find_if(containers.begin(), containers.end(), [&](const auto& one) { return one.name() == name; });
  return found == containers.end() ? nullptr : &*found;
}

const SeenSandbox* PodSeen::readySandbox() const {
  return sandboxes.empty() || !sandboxes.front().ready ? nullptr : &sandboxes.front();
}

bool toBeRestarted(const PodDefinition& pod, const ContainerDefinition& container,
                   const SeenContainer* seen) {
  if (seen == nullptr) return true;
  if (seen->state == RunState::running) return false;
  if (seen->state != RunState::exited || container.role == Role::sidecar) return true;
  if (pod.restart == RestartPolicy::never) return false;
  return pod.restart == RestartPolicy::always || seen->exitCode != 0;
}

PodStatus statusOf(const PodDefinition& pod, const PodSeen& seen, const Reasons& reasons,
                   const std::optional<PodStatus>& previous, Version version) {
  PodStatus status;
  status.uid = pod.pod.uid;
  status.name = pod.pod.name;
  status.labels = pod.pod.labels;
  status.deleting = previous && previous->deleting;
  const bool hasInit = std::any_of(pod.containers.begin(), pod.containers.end(),
                                   [](const ContainerDefinition& one) { return one.role != Role::regular; });
  for (const auto& container : pod.containers) {
    const auto& name = container.spec.name;
    const auto* const old = previous ? previous->container(name) : nullptr;
    auto one = waitingStatus(container, old, hasInit);
    const auto* const newest = seen.newest(name);
    if (newest != nullptr) {
      fillFrom(*newest, one);
      if (const auto end = earlierEnd(seen, name)) one.last = end;
    } else if (old != nullptr) {
      addVanished(*old, version, status.deleting, one);
    }
    const auto reason = reasons.find(name);
    if (reason != reasons.end() && !one.running() && toBeRestarted(pod, container, newest)) {
      if (one.state.kind == Kind::terminated) one.last = one.state;
      one.state = reason->second;
    }
    status.containers.push_back(std::move(one));
  }
  status.phase = phaseOf(pod, status);
  return status;
}

}  // namespace fallbackd::e2e::model
