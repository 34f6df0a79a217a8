// SPDX-License-Identifier: Apache-2.0
#include "kubelet/puller.hpp"

#include <algorithm>

namespace fallbackd::e2e::model {

Puller::Puller(Kubelet& kubelet, Runtime& runtime, EventLog& log, const Options& options)
    : kubelet_(kubelet),
      runtime_(runtime),
      log_(log),
      pulls_(options.pulls),
      backOff_(options.times.pullBackOff, options.times.maxBackOff) {}

Puller::Outcome Puller::ensure(const PodSpec& pod, const ContainerDefinition& container,
                               const std::stop_token& stop) {
  const auto& image = container.spec.image;
  const auto present = kubelet_.imagePresent(image);
  if (!present) return {false, "ImageInspectError", present.error().message()};
  if (*present && container.pull != PullPolicy::always) {
    log_.add(pod.name, container.spec.name, "Pulled",
             "Container image \"" + image + "\" already present on machine");
    return {true, {}, {}};
  }
  if (container.pull == PullPolicy::never) {
    return {false, "ErrImageNeverPull",
            "Container image \"" + image + "\" is not present with pull policy of Never"};
  }
  {
    const std::lock_guard lock(mutex_);
    if (backOff_.active(pod.uid + "_" + image, Monotonic::now())) {
      const auto message = "Back-off pulling image \"" + image + "\"";
      log_.add(pod.name, container.spec.name, "BackOff", message);
      return {false, "ImagePullBackOff", message};
    }
  }
  return pull(pod, container, stop);
}

Puller::Outcome Puller::pull(const PodSpec& pod, const ContainerDefinition& container,
                             const std::stop_token& stop) {
  const auto& image = container.spec.image;
  log_.add(pod.name, container.spec.name, "Pulling", "Pulling image \"" + image + "\"");
  std::uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    ticket = ++tickets_;
    if (pulls_ == Pulls::serialized) queue_.push_back(ticket);
  }
  if (!waitForTurn(ticket, stop)) return {false, "ErrImagePull", "the pod is being deleted"};
  const auto outcome = runtime_.pull(image, stop);
  leave(ticket);
  if (outcome.ok()) {
    log_.add(pod.name, container.spec.name, "Pulled", "Successfully pulled image \"" + image + "\"");
    return {true, {}, {}};
  }
  {
    const std::lock_guard lock(mutex_);
    backOff_.next(pod.uid + "_" + image, Monotonic::now());
  }
  log_.add(pod.name, container.spec.name, "Failed",
           "Failed to pull image \"" + image + "\": " + outcome.text);
  return {false, "ErrImagePull", outcome.text};
}

bool Puller::waitForTurn(std::uint64_t ticket, const std::stop_token& stop) {
  if (pulls_ == Pulls::parallel) return true;
  std::unique_lock lock(mutex_);
  if (turn_.wait(lock, stop, [&] { return queue_.front() == ticket; })) return true;
  std::erase(queue_, ticket);
  turn_.notify_all();
  return false;
}

void Puller::leave(std::uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  std::erase(queue_, ticket);
  turn_.notify_all();
}

}  // namespace fallbackd::e2e::model
