// SPDX-License-Identifier: Apache-2.0
// A model of kubelet: runs pods on a containerd by kubelet's rules. Each rule has its line in docs/kubelet.md
// and its test in tests/e2e/kubelet_model_test.cpp. Like kubelet, it knows a pod only from its definition,
// the CRI and its own folders.
#pragma once

#include "kubelet/board.hpp"
#include "kubelet/container_logs.hpp"
#include "kubelet/event_log.hpp"
#include "kubelet/kubelet.hpp"
#include "kubelet/pod_worker.hpp"
#include "kubelet/puller.hpp"
#include "kubelet/records.hpp"
#include "kubelet/relist.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace fallbackd::e2e::model {

/// Thread-safe; has its own threads. The Kubelet below it, which owns folders and cgroups, must outlive it.
/// The destructor leaves all pods as they are: a second model with the same options and pods is kubelet after
/// its restart.
class KubeletModel {
 public:
  explicit KubeletModel(Kubelet& kubelet, Options options = {});
  KubeletModel(const KubeletModel&) = delete;
  KubeletModel& operator=(const KubeletModel&) = delete;
  ~KubeletModel();

  /// Returns the definition with its uid. Each pod needs a different name.
  PodDefinition add(PodDefinition pod);
  /// Begins to end the pod; Board and events show when it is gone. Empty: with the pod's own grace period.
  void remove(const std::string& name, std::optional<std::chrono::seconds> grace = {});
  /// The pod's next sync is due now, as after an update from the API server.
  void wake(const std::string& name);

  [[nodiscard]] EventLog& events() { return log_; }
  void subscribe(Board::Listener listener) { board_.subscribe(std::move(listener)); }
  [[nodiscard]] std::optional<PodStatus> status(const std::string& name) const;
  bool waitFor(const std::string& name, const Board::Holds& holds, std::chrono::nanoseconds ceiling) const;
  bool waitUntilGone(const std::string& name, std::chrono::nanoseconds ceiling) const;
  /// Waits for a whole relist that begins after this call.
  bool waitForRelist(std::chrono::nanoseconds ceiling) { return relist_.waitForNext(ceiling); }

  /// Stands in for /var/log/containers.
  [[nodiscard]] const std::filesystem::path& logLinks() const { return logs_.links(); }
  int rotateLogs(std::uintmax_t maxBytes) { return logs_.rotate(maxBytes); }
  int collectContainers();
  int collectImages();

 private:
  [[nodiscard]] std::string uidOf(const std::string& name) const;
  PodWorker* workerOf(const std::string& name);
  void killStranger(const SeenContainer& container);

  Kubelet& kubelet_;
  const Options options_;
  Runtime runtime_;
  EventLog log_;
  Board board_{log_};
  Records records_;
  ContainerLogs logs_;
  Puller puller_;
  Relist relist_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> uids_;                    // by name; guarded by mutex_
  std::map<std::string, std::unique_ptr<PodWorker>> workers_;  // by name; guarded by mutex_
};

}  // namespace fallbackd::e2e::model
