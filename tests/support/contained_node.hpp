// SPDX-License-Identifier: Apache-2.0
// A node on which fallbackd runs as the shipped DaemonSet has it: a container of the built image in
// containerd, with just the host paths, namespaces and capabilities of the manifest. Everything is where a
// real node has it.
#pragma once

#include "containerd_node.hpp"
#include "daemon.hpp"
#include "daemonset.hpp"
#include "kubelet.hpp"
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
  static Result<std::unique_ptr<ContainedNode>> open(const std::filesystem::path& archive);

  /// Starts fallbackd from `reference`. That it is there does not say that it is ready.
  Result<DaemonPod> startDaemon(const DaemonSet& manifest, const std::string& reference);
  /// As kubelet ends a pod that is rolled; its folders and cgroups go too.
  Result<> endDaemon(const DaemonPod& daemon);
  /// Starts a pack's image as the DaemonSet of packs has it.
  Result<DaemonPod> startPack(const DaemonSet& manifest, const std::string& reference);

  /// A pod of the workload, with a configMap, a secret and an emptyDir.
  [[nodiscard]] PodSpec workloadPod(const std::string& name) const;
  [[nodiscard]] std::string image() const { return registry.reference("shop/checkout:1.8.3"); }
  /// The configuration that the DaemonSet's ConfigMap holds.
  [[nodiscard]] std::string configuration() const;
  /// What the daemon's container has written.
  [[nodiscard]] std::string logOf(const DaemonPod& daemon) const;

  /// One image reference for each image of the archive.
  std::vector<std::string> images;
  std::unique_ptr<ContainerdNode> node;
  std::unique_ptr<Kubelet> kubelet;
  Registry registry;
  Signer signer;

 private:
  Result<DaemonPod> start(const DaemonSet& manifest, const PodSpec& spec, const std::string& reference);
  ContainedNode(Registry r, Signer s) : registry(std::move(r)), signer(std::move(s)) {}
};

/// /status of a daemon, the newest recovery of a pod; empty where there is none.
struct RecoverySeen {
  std::string state;
  pid_t pid = 0;
  std::string error;
};
RecoverySeen recoveryOf(const std::string& ip, std::uint16_t port, const std::string& podName);

}  // namespace fallbackd::e2e
