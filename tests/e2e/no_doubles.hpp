// SPDX-License-Identifier: Apache-2.0
// Watches the node while a test runs: at most one of each container of a pod runs (a stand-in or the real
// one), at most one of each fallback, and no stand-in stays without a fallback.
#pragma once

#include "base/clock.hpp"
#include "containerd_node.hpp"
#include "kubelet/kubelet.hpp"

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <sys/types.h>
#include <thread>
#include <utility>

namespace fallbackd::e2e {

/// Thread-safe; has its own thread.
class NoDoubles {
 public:
  explicit NoDoubles(const ContainerdNode& node);
  ~NoDoubles();
  NoDoubles(const NoDoubles&) = delete;
  NoDoubles& operator=(const NoDoubles&) = delete;

  struct Seen {
    std::set<std::string> doubledContainers;              // "web-0 checkout: ID ID"
    std::map<std::string, std::string> doubledFallbacks;  // pod: its processes
    std::chrono::nanoseconds longestAlone{0};             // of a stand-in without a fallback
    /// Of a stand-in beside the real container: kubelet may create the real one while the stand-in starts.
    std::chrono::nanoseconds longestBeside{0};
    unsigned looks = 0;
  };
  [[nodiscard]] Seen seen() const;

 private:
  void run();
  void look();
  void lookAtPod(const std::string& uid, const std::string& name, bool standIn);
  using Place = std::pair<std::string, std::string>;  // pod uid, container
  void lookAtPlace(const Place& place, std::size_t standIns, std::size_t reals);

  const ContainerdNode& node_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;  // guarded by mutex_
  Seen seen_;          // guarded by mutex_
  // Used by the thread alone.
  std::map<std::string, Stamp> aloneSince_;  // by pod uid
  std::map<Place, Stamp> besideSince_;
  std::thread thread_;
};

/// Processes of a pod that run from a sealed copy: its fallback, in any cgroup of the pod.
std::set<pid_t> fallbacksOf(const std::string& podUid);

}  // namespace fallbackd::e2e
