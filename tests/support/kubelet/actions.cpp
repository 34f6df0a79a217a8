// SPDX-License-Identifier: Apache-2.0
#include "kubelet/actions.hpp"

#include "kubelet/hash.hpp"

#include <algorithm>

namespace fallbackd::e2e::model {

namespace {

/// One decision; its parts share their subject.
class Decision {
 public:
  Decision(const PodDefinition& pod, const PodSeen& seen, Version version, const Judges& judges)
      : pod_(pod), seen_(seen), version_(version), judges_(judges) {}

  Actions make() {
    if (seen_.readySandbox() == nullptr) {
      planSandbox();
      return std::move(actions_);
    }
    if (!initialized() && !initContainers()) return std::move(actions_);
    bool keeps = false;
    for (const auto& one : pod_.containers) {
      if (one.role == Role::regular) keeps = judge(one) || keeps;
    }
    if (actions_.start.empty() && !keeps) {
      actions_.stopPod = true;
      return std::move(actions_);
    }
    if (wasInitialized_) restartSidecars();
    return std::move(actions_);
  }

 private:
  /// Everything starts again in a new sandbox, except for what has completed.
  void planSandbox() {
    actions_.sandboxAttempt = seen_.sandboxes.empty() ? 0 : seen_.sandboxes.front().attempt + 1;
    if (pod_.restart == RestartPolicy::never && !seen_.sandboxes.empty() && !seen_.containers.empty()) {
      actions_.stopPod = true;
      return;
    }
    const bool regularToStart =
        std::any_of(pod_.containers.begin(), pod_.containers.end(), [this](const ContainerDefinition& one) {
          const auto* const newest = seen_.newest(one.spec.name);
          // Containers that ran in the old sandbox end with it.
          return one.role == Role::regular &&
                 (toBeRestarted(pod_, one, newest) || newest->state == RunState::running);
        });
    actions_.stopPod = !regularToStart;
    actions_.createSandbox = regularToStart;
    if (!regularToStart) return;
    for (const auto& one : pod_.containers) {
      if (one.role != Role::regular) {
        actions_.start = {&one};  // the first init container alone
        return;
      }
      actions_.start.push_back(&one);
    }
  }

  [[nodiscard]] const SeenContainer* here(const ContainerDefinition& one) const {
    const auto* const newest = seen_.newest(one.spec.name);
    return newest != nullptr && newest->sandboxId == seen_.readySandbox()->id ? newest : nullptr;
  }

  /// One regular container that ran in this sandbox is enough, no matter what created it.
  bool initialized() {
    wasInitialized_ =
        std::any_of(pod_.containers.begin(), pod_.containers.end(), [this](const ContainerDefinition& one) {
          const auto* const seen = here(one);
          return one.role == Role::regular && seen != nullptr && seen->state != RunState::created;
        });
    return wasInitialized_;
  }

  /// True: all init containers are done, and the sidecars have started.
  bool initContainers() {
    for (const auto& one : pod_.containers) {
      if (one.role == Role::regular) continue;
      const auto* const seen = here(one);
      if (seen == nullptr || seen->state == RunState::created || seen->state == RunState::unknown) {
        actions_.start.push_back(&one);
        return false;
      }
      if (seen->state == RunState::running) {
        if (one.role == Role::sidecar && (!one.startup || judges_.startupDone(*seen))) {
          judge(one);
          continue;
        }
        judge(one);
        return false;
      }
      if (one.role == Role::init && seen->exitCode == 0) continue;
      if (one.role == Role::init && pod_.restart == RestartPolicy::never) {
        actions_.stopPod = true;
        return false;
      }
      actions_.start.push_back(&one);
      return false;
    }
    return true;
  }

  void restartSidecars() {
    for (const auto& one : pod_.containers) {
      if (one.role == Role::sidecar) judge(one);
    }
  }

  void killAndStart(const ContainerDefinition& one, const SeenContainer& seen, std::string message,
                    bool restart) {
    if (restart) {
      message += ", will be restarted";
      actions_.start.push_back(&one);
    }
    actions_.kill.push_back({seen, &one, std::move(message)});
  }

  /// True: it runs and keeps running.
  bool judge(const ContainerDefinition& one) {
    const auto* const seen = seen_.newest(one.spec.name);
    if (seen == nullptr || seen->state != RunState::running) {
      if (toBeRestarted(pod_, one, seen)) actions_.start.push_back(&one);
      return false;
    }
    const auto what = "Container " + one.spec.name;
    const bool restart = pod_.restart != RestartPolicy::never || one.role == Role::sidecar;
    if (seen->annotation("io.kubernetes.container.hash") != containerHash(version_, one.spec)) {
      // Whatever the policy.
      killAndStart(one, *seen, what + " definition changed", true);
      return false;
    }
    if (judges_.failedLiveness(*seen)) {
      killAndStart(one, *seen, what + " failed liveness probe", restart);
      return false;
    }
    if (judges_.failedStartup(*seen)) {
      killAndStart(one, *seen, what + " failed startup probe", restart);
      return false;
    }
    const bool limited = one.spec.memoryBytes != 0 || one.spec.cpuMillis != 0;
    if (version_ >= Version::v1_33 && limited && !judges_.hasRecord(one.spec.name)) {
      if (one.resize == ResizePolicy::restart_container) {
        killAndStart(one, *seen, what + " resize requires restart", restart);
        return false;
      }
      actions_.resize.push_back(seen);
    }
    return true;
  }

  const PodDefinition& pod_;
  const PodSeen& seen_;
  Version version_;
  const Judges& judges_;
  bool wasInitialized_ = false;
  Actions actions_;
};

}  // namespace

Actions actionsFor(const PodDefinition& pod, const PodSeen& seen, Version version, const Judges& judges) {
  return Decision(pod, seen, version, judges).make();
}

}  // namespace fallbackd::e2e::model
