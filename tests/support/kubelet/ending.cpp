// SPDX-License-Identifier: Apache-2.0
// How a worker ends a container and a pod.
#include "kubelet/pod_worker.hpp"

#include <algorithm>
#include <future>

namespace fallbackd::e2e::model {

namespace {

// The shortest grace period that kubelet gives a container.
constexpr std::chrono::seconds kMinGrace{2};

}  // namespace

void PodWorker::kill(const SeenContainer& container, const ContainerDefinition& definition,
                     const std::string& message, std::chrono::seconds grace) {
  const auto& name = definition.spec.name;
  parts_.log.add(pod_.pod.name, name, "Killing", message.empty() ? "Stopping container " + name : message);
  if (!definition.preStop.empty() && grace.count() > 0) {
    const auto begun = Monotonic::now();
    const auto hook = parts_.runtime.exec(container.id, definition.preStop, grace);
    if (!hook || hook->code != 0) {
      parts_.log.add(pod_.pod.name, name, "FailedPreStopHook",
                     hook ? "exit code " + std::to_string(hook->code) : hook.error().message());
    }
    grace -= std::chrono::duration_cast<std::chrono::seconds>(Monotonic::now() - begun);
  }
  grace = std::max(grace, kMinGrace);
  if (const auto stopped = parts_.kubelet.stopContainer(container.id, grace); !stopped)
    parts_.log.add(pod_.pod.name, name, "FailedKillPod", stopped.error().message());
}

/// Ends running containers concurrently, then the sandboxes; without running containers, the sandboxes at
/// once.
void PodWorker::killAll(const PodSeen& seen, std::chrono::seconds grace) {
  std::vector<std::future<void>> ends;
  for (const auto& one : seen.containers) {
    if (one.state != RunState::running) continue;
    const auto definition =
        std::find_if(pod_.containers.begin(), pod_.containers.end(),
                     [&](const ContainerDefinition& known) { return known.spec.name == one.name(); });
    if (definition == pod_.containers.end()) {
      parts_.log.add(pod_.pod.name, one.name(), "FailedKillPod",
                     "failed to get containerSpec of a container with an unknown name");
      continue;
    }
    ends.push_back(std::async(std::launch::async,
                              [this, &one, definition, grace] { kill(one, *definition, "", grace); }));
  }
  for (auto& one : ends) one.get();
  for (const auto& sandbox : seen.sandboxes) {
    if (!sandbox.ready) continue;
    parts_.log.add(pod_.pod.name, "", "StoppingSandbox", sandbox.id);
    if (const auto stopped = parts_.runtime.stopSandbox(sandbox.id); !stopped)
      parts_.log.add(pod_.pod.name, "", "FailedKillPod", stopped.error().message());
  }
}

void PodWorker::terminatePod(const std::stop_token& stop) {
  std::chrono::seconds grace = pod_.grace;
  {
    const std::lock_guard lock(mutex_);
    grace = grace_.value_or(pod_.grace);
  }
  parts_.board.publishDeleting(pod_);
  std::erase_if(probers_, [](const auto& one) { return one->type() != ProbeType::readiness; });
  for (;;) {
    const auto seen = parts_.relist.look(pod_.pod.uid);
    if (seen) {
      killAll(*seen, grace);
      const auto after = parts_.relist.look(pod_.pod.uid);
      const bool running =
          !after || after->readySandbox() != nullptr ||
          std::any_of(after->containers.begin(), after->containers.end(),
                      [](const SeenContainer& one) { return one.state == RunState::running; });
      if (!running) break;
    }
    // containerd is down, or something did not end: try again at the next sync.
    const auto again = Monotonic::now() + parts_.options.times.failedSync;
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, stop, again, [] { return false; });
    if (stop.stop_requested()) return;
  }
  probers_.clear();
  removeRest();
}

/// Kills what is left in the pod's cgroup, then removes its folders and its containers.
void PodWorker::removeRest() {
  if (!sandbox_) {
    const auto seen = parts_.relist.look(pod_.pod.uid);
    if (seen && !seen->sandboxes.empty()) {
      auto found = parts_.kubelet.findPod(pod_.pod, seen->sandboxes.front().id);
      if (found) sandbox_ = std::move(*found);
    }
  }
  if (sandbox_) {
    if (const auto removed = parts_.kubelet.removePod(*sandbox_); !removed)
      parts_.log.add(pod_.pod.name, "", "FailedKillPod", removed.error().message());
  }
  parts_.logs.removeDeadLinks();
  parts_.records.forget(pod_.pod.uid);
  parts_.log.add(pod_.pod.name, "", "Removed", "");
  parts_.board.publishGone(pod_);
}

}  // namespace fallbackd::e2e::model
