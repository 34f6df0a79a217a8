// SPDX-License-Identifier: Apache-2.0
// Kubelet's worker of one pod: one sync after the other, each based on what a relist found since the last
// one.
#pragma once

#include "kubelet/actions.hpp"
#include "kubelet/parts.hpp"
#include "kubelet/prober.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace fallbackd::e2e::model {

/// Has its own thread. The destructor leaves the pod as it is, as a kubelet does when it ends.
class PodWorker {
 public:
  PodWorker(const Parts& parts, PodDefinition pod);
  PodWorker(const PodWorker&) = delete;
  PodWorker& operator=(const PodWorker&) = delete;
  ~PodWorker();

  [[nodiscard]] const PodDefinition& definition() const { return pod_; }
  /// Makes a sync due.
  void wake();
  /// Ends the pod; aborts a running pull. Empty: with the pod's own grace period.
  void terminate(std::optional<std::chrono::seconds> grace);

 private:
  enum class Outcome : std::uint8_t { fine, failed };

  void run(const std::stop_token& stop);
  /// False: stopped.
  bool waitUntilDue(Stamp due, const std::stop_token& stop);
  void startProbers();

  // pod_worker.cpp: one sync.
  Outcome sync(const PodSeen& seen);
  [[nodiscard]] Judges judges() const;
  Result<> makeSandbox(const PodSeen& seen, const Actions& actions);
  Result<> findSandbox(const PodSeen& seen);
  void noteAdopted(const PodSeen& seen);
  void resize(const SeenContainer& container);

  // starting.cpp
  Outcome startAll(const PodSeen& seen, const Actions& actions);
  /// False: reasons_ has the reason.
  bool start(const ContainerDefinition& container, const PodSeen& seen);
  [[nodiscard]] bool inCrashBackOff(const ContainerDefinition& container, const PodSeen& seen);
  Result<std::string> create(const ContainerDefinition& container, const PodSeen& seen);
  bool refuse(const std::string& container, const std::string& reason, const std::string& message);

  // ending.cpp
  void kill(const SeenContainer& container, const ContainerDefinition& definition, const std::string& message,
            std::chrono::seconds grace);
  void killAll(const PodSeen& seen, std::chrono::seconds grace);
  void terminatePod(const std::stop_token& stop);
  void removeRest();

  Parts parts_;
  const PodDefinition pod_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool due_ = true;                            // guarded by mutex_
  bool terminating_ = false;                   // guarded by mutex_
  std::optional<std::chrono::seconds> grace_;  // guarded by mutex_
  std::stop_source syncing_;                   // ends what a sync waits for

  // Used by the thread alone.
  std::optional<Pod> sandbox_;
  Reasons reasons_;
  BackOff crashes_;
  std::set<std::string> known_;  // containers that it started or adopted
  std::vector<std::unique_ptr<Prober>> probers_;
  std::jthread thread_;
};

}  // namespace fallbackd::e2e::model
