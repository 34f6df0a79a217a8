// SPDX-License-Identifier: Apache-2.0
// A containerd for the test: root, state, socket, CNI bridge and sandbox image are below the run's folder.
#pragma once

#include "base/error.hpp"
#include "process.hpp"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// The gRPC part is in cri_stubs.hpp: its headers are larger than a whole test's code.
struct CriStubs;

struct NodeOptions {
  /// Uses the machine's own containerd instead of starting one for the test. Only in a machine of
  /// scripts/node, which may be broken.
  bool ofMachine = false;
  /// A folder with containerd, ctr and its shim, put in front of PATH: uses this containerd instead of the
  /// installed one. The configuration has version 2, which 1.6, 1.7 and 2.x can all read.
  std::optional<std::filesystem::path> binDir;
  std::string logLevel = "info";
  /// If set, containerd counts the calls that it receives, at http://127.0.0.1:PORT/v1/metrics.
  std::uint16_t metricsPort = 0;
  /// If set, a folder of programs that decide for containerd 2 whether an image may be pulled.
  std::filesystem::path verifiers = {};
  /// If set, containerd's root is a file system of this many MiB, in a loop-mounted file.
  unsigned rootMiB = 0;
  /// Puts root and state at /var/lib/containerd and /run/containerd, as on a real node; both belong to the
  /// run.
  bool usualPlaces = false;
  /// Layers leave the content store once they are unpacked, as on the nodes of large providers.
  bool discardUnpackedLayers = false;
  /// Added to containerd's environment, such as its proxies.
  std::map<std::string, std::string> environment = {};
};

/// Uses the containerd in the folder SETTLE_CONTAINERD, which scripts/report settle sets; unset or empty: the
/// installed one.
NodeOptions nodeOfReport();

/// Used by one thread; any thread may use the stubs. The destructor kills containerd and its shims; end the
/// pods through the Kubelet before.
class ContainerdNode {
 public:
  /// Starts containerd, waits for the CRI to answer, imports the sandbox image. Takes about a third of a
  /// second.
  static Result<std::unique_ptr<ContainerdNode>> start(NodeOptions options = {});
  ContainerdNode(const ContainerdNode&) = delete;
  ContainerdNode& operator=(const ContainerdNode&) = delete;
  ~ContainerdNode();

  /// SIGKILL, like a crash. Pods keep running: their shims are separate processes.
  void kill();
  /// Leaves what a reboot leaves: the root. Kills containerd, its shims and all that they ran, and removes
  /// its state folder with the mounts in it. Start it again with restart().
  void loseAllButRoot();
  /// Starts it again on the same root after kill(). With `ofMachine`: connects to it again.
  Result<> restart();

  [[nodiscard]] std::string socket() const {
    return options_.ofMachine ? "/run/containerd/containerd.sock" : (folder_ / "c.sock").string();
  }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] pid_t pid() const { return process_ ? process_->pid() : 0; }
  [[nodiscard]] std::filesystem::path log() const;
  /// The folder of the HOST/hosts.toml files: mirrors, certificates. containerd reads it at every pull.
  [[nodiscard]] std::filesystem::path registryConfigDir() const { return folder_ / "certs.d"; }

  /// Requests to this registry ("127.0.0.1:5000") use only this scheme ("http", "https"). For hosts on
  /// loopback, versions of containerd differ in which they try first. `ca` is a file of trusted certificates.
  Result<> speak(const std::string& scheme, const std::string& host,
                 const std::filesystem::path& ca = {}) const;

  /// The reference stays valid, but useless, after a restart.
  [[nodiscard]] const CriStubs& cri() const { return *cri_.load(); }
  [[nodiscard]] const std::string& version() const { return version_; }

  /// Runs ctr -n k8s.io ARGS; returns its output.
  Result<std::string> ctr(const std::vector<std::string>& args) const;
  /// Imports an OCI archive and waits until the CRI knows `reference`.
  Result<> importImage(const std::filesystem::path& archive, const std::string& reference) const;

 private:
  explicit ContainerdNode(NodeOptions options);
  Result<> writeConfig() const;
  [[nodiscard]] Result<> mountRoot() const;
  [[nodiscard]] Result<> bindRoot() const;
  Result<> launch();
  static Result<std::unique_ptr<ContainerdNode>> ofMachine(std::unique_ptr<ContainerdNode> node);
  /// Whether our own containerd process has ended.
  [[nodiscard]] bool ended();
  Result<> connect();
  Result<> waitReady();
  [[nodiscard]] std::map<std::string, std::string> environment() const;

  NodeOptions options_;
  std::filesystem::path folder_;
  std::optional<ChildProcess> process_;
  std::vector<std::unique_ptr<CriStubs>> all_;  // one for each start
  std::atomic<const CriStubs*> cri_{nullptr};
  std::string version_;
};

}  // namespace fallbackd::e2e
