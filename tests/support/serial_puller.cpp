// SPDX-License-Identifier: Apache-2.0
#include "serial_puller.hpp"

#include <cstdio>
#include <future>
#include <utility>
#include <vector>

namespace fallbackd::e2e {

SerialPuller::SerialPuller(Kubelet& kubelet) : kubelet_(kubelet), thread_([this] { run(); }) {}

SerialPuller::~SerialPuller() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<> SerialPuller::start(const Pod& pod, const ContainerSpec& spec) {
  FB_TRY(const bool present, kubelet_.imagePresent(spec.image));
  if (present) return make({pod, spec});
  queue(pod, spec);
  return {};
}

void SerialPuller::queue(const Pod& pod, const ContainerSpec& spec) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({pod, spec});
  }
  changed_.notify_all();
}

std::string SerialPuller::containerOf(const std::string& podName) const {
  const std::lock_guard lock(mutex_);
  const auto found = made_.find(podName);
  return found == made_.end() ? std::string() : found->second;
}

void SerialPuller::run() {
  std::vector<std::future<void>> workers;  // of the pods: only pulls wait for each other
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
    if (ending_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (!kubelet_.pullImage(job.spec.image, "", kPullTimeout).ok()) continue;  // kubelet would back off
    workers.push_back(std::async(std::launch::async, [this, job = std::move(job)] {
      const auto made = make(job);
      if (made) return;
      std::fprintf(stderr, "container of %s: %s\n", job.pod.spec.name.c_str(),
                   made.error().message().c_str());
    }));
  }
}

Result<> SerialPuller::make(const Job& job) {
  FB_TRY(const auto id, kubelet_.createContainer(job.pod, job.spec));
  FB_CHECK(kubelet_.startContainer(id));
  const std::lock_guard lock(mutex_);
  made_[job.pod.spec.name] = id;
  return {};
}

}  // namespace fallbackd::e2e
