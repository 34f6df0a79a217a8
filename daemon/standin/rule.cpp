// SPDX-License-Identifier: Apache-2.0
#include "standin/rule.hpp"

#include <algorithm>
#include <utility>
#include <variant>

namespace fallbackd::standin {

namespace {

using Kind = Ruling::Kind;

Ruling refused(std::string why) {
  return {Kind::refuse, std::move(why), false};
}

Ruling notKnown(std::string why) {
  return {Kind::refuse, std::move(why), true};
}

const kube::Container* find(const std::vector<kube::Container>& list, const std::string& name) {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.name == name; });
  return found == list.end() ? nullptr : &*found;
}

/// The probe by which kubelet would execute in the container what is not there. Empty: none.
std::string executedIn(const kube::Container& container, const std::string& there) {
  const auto executes = [&](const std::optional<kube::Probe>& probe) {
    const auto* const exec = probe ? std::get_if<kube::ExecCommand>(&probe->handler) : nullptr;
    return exec != nullptr && (there.empty() || exec->command.empty() || exec->command.front() != there);
  };
  if (executes(container.readinessProbe)) return "readinessProbe";
  if (executes(container.livenessProbe)) return "livenessProbe";
  if (executes(container.startupProbe)) return "startupProbe";
  return {};
}

Ruling ofRollout(const std::optional<RolloutFacts>& rollout) {
  if (!rollout) return notKnown("whether its revision has been rolled out is not known yet");
  if (rollout->state == RolloutFacts::State::complete) return {Kind::settle, rollout->why};
  if (rollout->state == RolloutFacts::State::unknown) return notKnown(rollout->why);
  if (rollout->otherRevisionReady == false) return {Kind::settle, "no pod of another revision is ready"};
  return {Kind::hold, rollout->why + ": a stand-in would make it replace pods that are healthy"};
}

}  // namespace

Ruling rule(config::Settle settle, const config::Workload& workload, const kube::Pod* pod,
            const std::optional<RolloutFacts>& rollout) {
  if (settle == config::Settle::never) return refused("settle is never");
  const auto& name = workload.match.container;
  const auto* const container = pod == nullptr ? nullptr : find(pod->containers, name);
  // With one for an init container, kubelet would consider the pod initialised.
  if (pod != nullptr && container == nullptr) return refused(name + " is an init container");
  if (settle == config::Settle::always) return {Kind::settle, "settle is always"};
  if (workload.restart.policy && *workload.restart.policy != config::RestartPolicy::always) {
    return refused(
        "restart.policy of its workload is not Always: the pod would count as completed or failed");
  }
  if (pod == nullptr) return notKnown("the pod's specification is not known");
  if (pod->ownerKind == "Job" || (!pod->restartPolicy.empty() && pod->restartPolicy != "Always")) {
    return refused(
        "the pod belongs to a Job or is not restarted always: it would count as completed or failed");
  }
  const auto executed = executedIn(*container, workload.standIn.path);
  if (!executed.empty()) {
    return refused("its " + executed + " executes a program that a stand-in does not have" +
                   (workload.standIn.path.empty() ? std::string(" (standIn.path of its workload is not set)")
                                                  : ": it has " + workload.standIn.path));
  }
  if (pod->imagePullSecrets > 0 && workload.dockerConfig.empty()) {
    return refused(
        "its image needs a password that only kubelet has: it would never come while a stand-in runs");
  }
  return ofRollout(rollout);
}

}  // namespace fallbackd::standin
