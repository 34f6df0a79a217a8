// SPDX-License-Identifier: Apache-2.0
// What kubelet does with a pod, step by step and on demand: folders and cgroups, sandbox, pull, container.
// Has no loops or back-offs: a test decides when something is retried.
#pragma once

#include "containerd_node.hpp"
#include "pod.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <vector>

#include <grpcpp/support/status_code_enum.h>

namespace fallbackd::e2e {

struct Pod {
  PodSpec spec;  // with the uid filled in
  std::string sandboxId;
  std::string ip;  // empty with hostNetwork
  pid_t pausePid = 0;
  std::filesystem::path folder;        // <pods>/UID
  std::filesystem::path logDirectory;  // NAMESPACE_NAME_UID
  std::string cgroupParent;            // as given to the runtime
  std::vector<std::filesystem::path> cgroups;
};

/// PullImage's answer, verbatim.
struct PullOutcome {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string text;
  std::string imageRef;
  std::chrono::nanoseconds took{};
  [[nodiscard]] bool ok() const { return code == grpc::StatusCode::OK; }
};

/// Blocks; thread-safe for different pods. The destructor removes remaining pods, so it must not outlive the
/// node.
class Kubelet {
 public:
  explicit Kubelet(const ContainerdNode& node);
  /// Uses a real kubelet's folders for pods and logs, which must belong to the test there.
  Kubelet(const ContainerdNode& node, std::filesystem::path pods, std::filesystem::path logs);
  Kubelet(const Kubelet&) = delete;
  Kubelet& operator=(const Kubelet&) = delete;
  ~Kubelet();

  /// The pods' folder: launcher.kubeletPods of the daemon.
  [[nodiscard]] std::filesystem::path podsDir() const { return podsDir_; }
  [[nodiscard]] const ContainerdNode& node() const { return node_; }

  /// Creates the volumes, then the cgroups, then the sandbox.
  Result<Pod> startPod(PodSpec spec);
  /// A new sandbox (attempt + 1) for a pod whose old one was stopped: same uid, folder and cgroups.
  Result<Pod> restartSandbox(const Pod& pod);
  /// A pod that already exists, as a kubelet finds it after its restart. Without an address and pausePid if
  /// its sandbox has ended.
  Result<Pod> findPod(PodSpec spec, const std::string& sandboxId);
  /// As last started or found.
  Result<Pod> podOf(const std::string& uid);
  /// New content for one of the pod's volumes, by swapping ..data.
  Result<> updateVolume(const Pod& pod, const PodVolume& volume);

  /// `auth` is "user:password", as in an image pull secret; empty: none.
  PullOutcome pullImage(const std::string& reference, const std::string& auth = "",
                        std::chrono::milliseconds timeout = std::chrono::minutes(2));
  [[nodiscard]] Result<bool> imagePresent(const std::string& reference);
  Result<> removeImage(const std::string& reference);

  /// Returns the container's id. The image must be present.
  Result<std::string> createContainer(const Pod& pod, const ContainerSpec& spec);
  Result<> startContainer(const std::string& id);
  /// Waits until the container has exited by itself; returns its exit code.
  Result<int> waitForContainer(const std::string& id, std::chrono::nanoseconds ceiling);
  Result<> stopContainer(const std::string& id, std::chrono::seconds grace = std::chrono::seconds(2));
  Result<> removeContainer(const std::string& id);

  /// Stops the pod's sandboxes and the processes in them; folders and cgroups stay.
  Result<> stopPod(const Pod& pod);
  /// The rest of a deletion: removes sandboxes, every process left in the pod's cgroup, cgroups, folders.
  Result<> removePod(const Pod& pod);

 private:
  [[nodiscard]] Pod described(PodSpec spec) const;
  Result<> runSandbox(Pod& pod);
  Result<> readStatus(Pod& pod);
  Result<> writeHosts(const Pod& pod, const std::string& text);
  /// The sandboxes of this attempt and earlier ones.
  Result<std::vector<std::string>> sandboxesOf(const Pod& pod);

  const ContainerdNode& node_;
  std::filesystem::path podsDir_;
  std::filesystem::path logsDir_;
  std::mutex mutex_;
  std::map<std::string, Pod> pods_;  // by uid; guarded by mutex_
};

}  // namespace fallbackd::e2e
