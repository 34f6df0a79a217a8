// SPDX-License-Identifier: Apache-2.0
// kubelet's image manager with serializeImagePulls, its default: one pull at a time, in the order of the
// requests. A hanging pull delays the pulls behind it, and so their containers. Containers are created
// concurrently.
#pragma once

#include "kubelet/kubelet.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace fallbackd::e2e {

class SerialPuller {
 public:
  /// The kubelet must outlive it.
  explicit SerialPuller(Kubelet& kubelet);
  SerialPuller(const SerialPuller&) = delete;
  SerialPuller& operator=(const SerialPuller&) = delete;
  /// Waits for the current pull: end a hanging pull first, or this takes up to kPullTimeout.
  ~SerialPuller();

  static constexpr std::chrono::seconds kPullTimeout{60};

  /// Like kubelet for a container with imagePullPolicy IfNotPresent: looks for the image now. If it is
  /// present, creates the container at once, otherwise when its pull's turn comes.
  Result<> start(const Pod& pod, const ContainerSpec& spec);
  /// The same for an image that was missing when kubelet looked for it, even if it is present by now.
  void queue(const Pod& pod, const ContainerSpec& spec);

  /// The pod's container; empty until it was started.
  [[nodiscard]] std::string containerOf(const std::string& podName) const;

 private:
  struct Job {
    Pod pod;
    ContainerSpec spec;
  };
  void run();
  Result<> make(const Job& job);

  Kubelet& kubelet_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;                    // guarded by mutex_
  std::map<std::string, std::string> made_;  // by pod name; guarded by mutex_
  bool ending_ = false;                      // guarded by mutex_
  std::thread thread_;
};

}  // namespace fallbackd::e2e
