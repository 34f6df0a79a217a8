// SPDX-License-Identifier: Apache-2.0
// How a worker starts a container.
#include "kubelet/hash.hpp"
#include "kubelet/pod_worker.hpp"

#include <string>

namespace fallbackd::e2e::model {

PodWorker::Outcome PodWorker::startAll(const PodSeen& seen, const Actions& actions) {
  bool fine = true;
  for (const auto* const one : actions.start) {
    if (syncing_.stop_requested()) return Outcome::failed;
    fine = start(*one, seen) && fine;
  }
  return fine ? Outcome::fine : Outcome::failed;
}

bool PodWorker::refuse(const std::string& container, const std::string& reason, const std::string& message) {
  reasons_[container] = {ContainerState::Kind::waiting, reason, message, 0, 0, 0};
  return false;
}

bool PodWorker::start(const ContainerDefinition& container, const PodSeen& seen) {
  const auto& name = container.spec.name;
  if (inCrashBackOff(container, seen)) {
    parts_.log.add(pod_.pod.name, name, "BackOff", "Back-off restarting failed container");
    return refuse(name, "CrashLoopBackOff", "Back-off restarting failed container");
  }
  const auto image = parts_.puller.ensure(pod_.pod, container, syncing_.get_token());
  if (!image.present) return refuse(name, image.reason, image.message);
  const auto id = create(container, seen);
  if (!id) {
    parts_.log.add(pod_.pod.name, name, "Failed", id.error().message());
    return refuse(name, "CreateContainerError", id.error().message());
  }
  parts_.log.add(pod_.pod.name, name, "Created", *id);
  parts_.records.add(pod_.pod.uid, name);
  if (const auto started = parts_.kubelet.startContainer(*id); !started) {
    parts_.log.add(pod_.pod.name, name, "Failed", started.error().message());
    return refuse(name, "RunContainerError", started.error().message());
  }
  known_.insert(*id);
  reasons_.erase(name);
  parts_.log.add(pod_.pod.name, name, "Started", *id);
  if (const auto status = parts_.runtime.status(*id)) parts_.logs.link(*sandbox_, name, *id, status->logPath);
  return true;
}

/// The first restart happens at once; it begins the back-off, which counts from the container's end.
bool PodWorker::inCrashBackOff(const ContainerDefinition& container, const PodSeen& seen) {
  const SeenContainer* ended = nullptr;
  for (const auto& one : seen.containers) {
    if (ended == nullptr && one.name() == container.spec.name && one.state == RunState::exited) ended = &one;
  }
  if (ended == nullptr) return false;
  const auto key = container.spec.name + containerHash(parts_.options.version, container.spec);
  const auto ago = Wall::now().time_since_epoch() - std::chrono::nanoseconds(ended->finishedAt);
  if (crashes_.activeSince(key, ago)) return true;
  crashes_.next(key, Monotonic::now());
  return false;
}

Result<std::string> PodWorker::create(const ContainerDefinition& container, const PodSeen& seen) {
  auto spec = container.spec;
  const auto* const newest = seen.newest(spec.name);
  const int number = newest != nullptr ? newest->restartCount() + 1
                                       : ContainerLogs::nextNumber(sandbox_->logDirectory / spec.name);
  spec.attempt = static_cast<std::uint32_t>(number);
  auto& annotations = spec.annotations;
  annotations["io.kubernetes.container.hash"] = containerHash(parts_.options.version, container.spec);
  annotations["io.kubernetes.container.terminationMessagePath"] = "/dev/termination-log";
  annotations["io.kubernetes.container.terminationMessagePolicy"] = "File";
  annotations["io.kubernetes.pod.terminationGracePeriod"] = std::to_string(pod_.grace.count());
  return parts_.kubelet.createContainer(*sandbox_, spec);
}

}  // namespace fallbackd::e2e::model
