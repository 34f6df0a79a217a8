// SPDX-License-Identifier: Apache-2.0
#include "kubelet/pod_worker.hpp"

namespace fallbackd::e2e::model {

PodWorker::PodWorker(const Parts& parts, PodDefinition pod)
    : parts_(parts),
      pod_(std::move(pod)),
      crashes_(parts.options.times.crashBackOff, parts.options.times.maxBackOff),
      thread_([this](const std::stop_token& stop) { run(stop); }) {
  parts_.relist.follow(pod_.pod.uid, [this] { wake(); });
}

PodWorker::~PodWorker() {
  parts_.relist.unfollow(pod_.pod.uid);
  thread_.request_stop();
  syncing_.request_stop();
  thread_.join();
}

void PodWorker::wake() {
  {
    const std::lock_guard lock(mutex_);
    due_ = true;
  }
  changed_.notify_all();
}

void PodWorker::terminate(std::optional<std::chrono::seconds> grace) {
  {
    const std::lock_guard lock(mutex_);
    terminating_ = true;
    grace_ = grace;
  }
  syncing_.request_stop();
  changed_.notify_all();
}

bool PodWorker::waitUntilDue(Stamp due, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, stop, due, [this] { return due_ || terminating_; });
  due_ = false;
  return !stop.stop_requested();
}

void PodWorker::startProbers() {
  for (const auto& container : pod_.containers) {
    const auto add = [&](const std::optional<Probe>& probe, ProbeType type) {
      if (probe) {
        probers_.push_back(std::make_unique<Prober>(parts_, pod_, container, type, [this] { wake(); }));
      }
    };
    add(container.startup, ProbeType::startup);
    add(container.readiness, ProbeType::readiness);
    add(container.liveness, ProbeType::liveness);
  }
}

void PodWorker::run(const std::stop_token& stop) {
  startProbers();
  Stamp synced{};
  Stamp due{};
  while (waitUntilDue(due, stop)) {
    {
      const std::lock_guard lock(mutex_);
      if (terminating_) break;
    }
    const auto seen = parts_.relist.newerThan(pod_.pod.uid, synced, syncing_.get_token());
    if (!seen) continue;
    const auto outcome = sync(*seen);
    synced = Monotonic::now();
    const auto& times = parts_.options.times;
    due = synced + (outcome == Outcome::fine ? times.resync : times.failedSync);
  }
  if (!stop.stop_requested()) terminatePod(stop);
  probers_.clear();
}

Judges PodWorker::judges() const {
  const auto resultOf = [this](const SeenContainer& one, ProbeType type) {
    return parts_.board.result(one.id, type);
  };
  return {[resultOf](const SeenContainer& one) { return resultOf(one, ProbeType::liveness) == false; },
          [resultOf](const SeenContainer& one) { return resultOf(one, ProbeType::startup) == false; },
          [resultOf](const SeenContainer& one) { return resultOf(one, ProbeType::startup) == true; },
          [this](const std::string& name) { return parts_.records.has(pod_.pod.uid, name); }};
}

PodWorker::Outcome PodWorker::sync(const PodSeen& seen) {
  const auto previous = parts_.board.find(pod_.pod.uid);
  auto status = statusOf(pod_, seen, reasons_, previous, parts_.options.version);
  // As of the last sync: during a sync that hangs in its first pull the pod has no address.
  if (sandbox_) status.ip = sandbox_->ip;
  if (const auto found = findSandbox(seen); !found)
    parts_.log.add(pod_.pod.name, "", "FailedSync", found.error().message());
  if (seen.readySandbox() != nullptr && sandbox_) status.ip = sandbox_->ip;
  noteAdopted(seen);
  parts_.board.publish(pod_, std::move(status));

  const auto actions = actionsFor(pod_, seen, parts_.options.version, judges());
  for (const auto& one : actions.kill) kill(one.container, *one.definition, one.message, pod_.grace);
  if (actions.createSandbox) {
    if (const auto made = makeSandbox(seen, actions); !made) {
      parts_.log.add(pod_.pod.name, "", "FailedCreatePodSandBox", made.error().message());
      return Outcome::failed;
    }
  } else if (actions.stopPod) {
    killAll(seen, pod_.grace);
    return Outcome::fine;
  }
  for (const auto* const one : actions.resize) resize(*one);
  return startAll(seen, actions);
}

Result<> PodWorker::makeSandbox(const PodSeen& seen, const Actions& actions) {
  if (!seen.sandboxes.empty()) killAll(seen, pod_.grace);
  auto spec = pod_.pod;
  spec.attempt = actions.sandboxAttempt;
  FB_TRY(sandbox_, parts_.kubelet.startPod(std::move(spec)));
  return {};
}

/// The sandbox of an earlier kubelet, or one that something else created for the pod.
Result<> PodWorker::findSandbox(const PodSeen& seen) {
  const auto* const ready = seen.readySandbox();
  if (ready == nullptr || (sandbox_ && sandbox_->sandboxId == ready->id)) return {};
  auto spec = pod_.pod;
  spec.attempt = ready->attempt;
  FB_TRY(auto found, parts_.kubelet.findPod(std::move(spec), ready->id));
  if (found.pausePid == 0) return fail(Stage::containerd, Reason::not_ready, "sandbox " + ready->id);
  sandbox_ = std::move(found);
  return {};
}

/// Kubelet reports nothing here: it takes these for its own containers.
void PodWorker::noteAdopted(const PodSeen& seen) {
  for (const auto& one : pod_.containers) {
    const auto* const newest = seen.newest(one.spec.name);
    if (newest == nullptr || newest->state != RunState::running || !known_.insert(newest->id).second)
      continue;
    parts_.log.add(pod_.pod.name, one.spec.name, "Found", "a container that this kubelet did not start");
  }
}

void PodWorker::resize(const SeenContainer& container) {
  for (const auto& one : pod_.containers) {
    if (one.spec.name != container.name()) continue;
    const auto set = parts_.runtime.setResources(container.id, one.spec);
    if (set) parts_.records.add(pod_.pod.uid, one.spec.name);
    parts_.log.add(pod_.pod.name, one.spec.name, set ? "Resized" : "ResizeFailed",
                   set ? "the pod's limits" : set.error().message());
  }
}

}  // namespace fallbackd::e2e::model
