// SPDX-License-Identifier: Apache-2.0
// Kubelet's image manager with serializeImagePulls, its default: one pull at a time, in the order in which
// they were asked for. A pull that hangs holds up those behind it, and so their containers.
#pragma once

#include "kubelet.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace fallbackd::e2e {

class SerialPuller {
 public:
  /// The kubelet outlives it.
  explicit SerialPuller(Kubelet& kubelet);
  SerialPuller(const SerialPuller&) = delete;
  SerialPuller& operator=(const SerialPuller&) = delete;
  /// Waits for the pull that is under way: whoever makes one hang ends it before, at the latest after
  /// kPullTimeout.
  ~SerialPuller();

  static constexpr std::chrono::seconds kPullTimeout{60};

  /// As kubelet starts a container with imagePullPolicy IfNotPresent: looks for the image now; makes the
  /// container at once where it is there, else after its pull had its turn.
  Result<> start(const Pod& pod, const ContainerSpec& spec);
  /// The same where the image was missing when kubelet looked for it, wherever it is by now.
  void queue(const Pod& pod, const ContainerSpec& spec);

  /// The container of the pod; empty until it was started.
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
