// SPDX-License-Identifier: Apache-2.0
// A node on which fallbackd runs as in the shipped DaemonSet: a container of the built image in containerd,
// with exactly the host paths, namespaces and capabilities of the manifest. All paths are those of a real
// node.
#pragma once

#include "containerd_node.hpp"
#include "daemon.hpp"
#include "daemonset.hpp"
#include "kubelet/kubelet.hpp"
#include "registry.hpp"

#include <memory>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// fallbackd's pod, while it runs.
struct DaemonPod {
  Pod pod;
  std::string containerId;
};

/// Used by one thread.
class ContainedNode {
 public:
  static constexpr std::uint16_t kPort = 8080;

  /// A node with a dead registry, the signed binary checkout@1.8.3 in its cache, and the image `archive`.
  static Result<std::unique_ptr<ContainedNode>> open(const std::filesystem::path& archive,
                                                     NodeOptions options = {});

  /// Starts fallbackd or a pack from `reference`, as the manifest specifies, with the node's configuration.
  /// Does not wait until it is ready.
  Result<DaemonPod> start(const DaemonSet& manifest, const std::string& reference);
  /// Ends the pod as kubelet does in a rollout; also removes its folders and cgroups.
  Result<> endDaemon(const DaemonPod& daemon);

  /// A pod of the workload, with a configMap, a secret and an emptyDir.
  [[nodiscard]] PodSpec workloadPod(const std::string& name) const;
  [[nodiscard]] std::string image() const { return registry.reference("shop/checkout:1.8.3"); }
  /// The configuration that the DaemonSet's ConfigMap holds.
  [[nodiscard]] std::string configuration() const;
  /// The output of the daemon's container.
  [[nodiscard]] std::string logOf(const DaemonPod& daemon) const;

  /// One image reference for each image in the archive.
  std::vector<std::string> images;
  std::unique_ptr<ContainerdNode> node;
  std::unique_ptr<Kubelet> kubelet;
  Registry registry;
  Signer signer;

 private:
  ContainedNode(Registry r, Signer s) : registry(std::move(r)), signer(std::move(s)) {}
};

/// The newest recovery of a pod in a daemon's /status; empty if there is none.
struct RecoverySeen {
  std::string state;
  pid_t pid = 0;
  std::string error;
};
RecoverySeen recoveryOf(const std::string& ip, std::uint16_t port, const std::string& podName);

}  // namespace fallbackd::e2e
