// SPDX-License-Identifier: Apache-2.0
// The shop: one node with a containerd, a kubelet, a signed cache, a registry and fallbackd, set up for the
// workload "checkout". End-to-end tests, demo and benchmarks start from it.
#pragma once

#include "containerd_node.hpp"
#include "daemon.hpp"
#include "kubelet/kubelet.hpp"
#include "registry.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// A pod of the workload "checkout"; the caller creates its container.
PodSpec checkoutPod(const std::string& name);
/// The labels that Kubernetes puts on pods of a Job.
void labelAsJob(PodSpec& spec);
ContainerSpec checkoutContainer(const std::string& image);
/// The workload as YAML, for DaemonOptions::workloads; more keys may follow, indented by two spaces.
std::string checkoutWorkload(const std::string& image, const std::string& version = "1.8.3",
                             const std::vector<std::string>& moreArgs = {});

struct ShopOptions {
  std::string reprobeInterval = "1s";
  bool installBinary = true;
  std::string workloadExtra;               // more YAML lines of the workload, indented by two spaces
  std::vector<std::string> moreArgs = {};  // of fallback and container
  NodeOptions node = {};
  std::filesystem::path logLinks = {};  // launcher.logLinks; empty: not written
};

class Shop {
 public:
  /// Starts everything except the registry; its address refuses connections.
  static Result<std::unique_ptr<Shop>> open(const ShopOptions& options = {});

  static constexpr std::uint16_t kPort = 8080;

  [[nodiscard]] ContainerSpec containerSpec() const;
  [[nodiscard]] std::string image() const { return registry.reference("shop/checkout:1.8.3"); }
  [[nodiscard]] DaemonOptions daemonOptions(const std::string& image) const;

  ShopOptions options;
  std::unique_ptr<ContainerdNode> node;
  std::unique_ptr<Kubelet> kubelet;
  Registry registry;
  Signer signer;
  std::unique_ptr<Daemon> daemon;

 private:
  Shop(Registry r, Signer s) : registry(std::move(r)), signer(std::move(s)) {}
};

/// The process that /status names for a pod; 0 if none is running.
pid_t fallbackPid(const Daemon& daemon, const std::string& podName);
/// The state of the pod's newest recovery ("ready"); "" if it has none.
std::string recoveryState(const Daemon& daemon, const std::string& podName);
/// The stand-in of the pod's newest recovery in /status: its state ("settled"), and why; empty if nothing is
/// decided yet.
struct StandInSeen {
  std::string state;
  std::string why;
};
StandInSeen standInOf(const Daemon& daemon, const std::string& podName);
/// fallbackctl's explanation of a pod in namespace "shop"; if that fails, its error.
std::string explanationOf(const Daemon& daemon, const std::string& podName);

}  // namespace fallbackd::e2e
