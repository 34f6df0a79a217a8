// SPDX-License-Identifier: Apache-2.0
// A containerd of the test's own: root, state, socket, CNI bridge and sandbox image below the run's folder.
#pragma once

#include "base/error.hpp"
#include "process.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// gRPC's part, in cri_stubs.hpp: its headers are larger than all of a test.
struct CriStubs;

struct NodeOptions {
  /// Another containerd than the installed one: a folder with containerd, ctr and its shim, put before
  /// PATH. The configuration is of version 2, which 1.6, 1.7 and 2.x all read.
  std::optional<std::filesystem::path> binDir;
  std::string logLevel = "info";
  /// Set: containerd counts the calls that it gets, at http://127.0.0.1:PORT/v1/metrics.
  std::uint16_t metricsPort = 0;
  /// Set: programs that containerd 2 asks whether an image may be pulled.
  std::filesystem::path verifiers = {};
  /// Set: containerd's root is a file system of so many MiB of its own, in a loop-mounted file.
  unsigned rootMiB = 0;
  /// Root and state at /var/lib/containerd and /run/containerd, as a node has them; both are the run's own.
  bool usualPlaces = false;
  /// Added to containerd's environment: its proxies.
  std::map<std::string, std::string> environment = {};
};

/// Used by one thread; the stubs may be used by any. The destructor kills containerd and its shims; pods
/// are ended before by their Kubelet.
class ContainerdNode {
 public:
  /// Starts it, waits for the CRI to answer, imports the sandbox image. About a third of a second.
  static Result<std::unique_ptr<ContainerdNode>> start(NodeOptions options = {});
  ContainerdNode(const ContainerdNode&) = delete;
  ContainerdNode& operator=(const ContainerdNode&) = delete;
  ~ContainerdNode();

  /// SIGKILL, as a crash. Pods run on: their shims are processes of their own.
  void kill();
  /// Starts it again on the same root after kill().
  Result<> restart();

  [[nodiscard]] std::string socket() const { return (folder_ / "c.sock").string(); }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] pid_t pid() const { return process_ ? process_->pid() : 0; }
  [[nodiscard]] std::filesystem::path log() const;
  /// Folder of HOST/hosts.toml files: mirrors, certificates. Read anew at every pull.
  [[nodiscard]] std::filesystem::path registryConfigDir() const { return folder_ / "certs.d"; }

  /// What is asked of this registry ("127.0.0.1:5000") is asked by this scheme ("http", "https") only. With
  /// hosts on the loopback containerd's versions differ in what they try first. `ca` is a file of
  /// certificates to trust.
  Result<> speak(const std::string& scheme, const std::string& host,
                 const std::filesystem::path& ca = {}) const;

  [[nodiscard]] const CriStubs& cri() const { return *cri_; }
  [[nodiscard]] const std::string& version() const { return version_; }

  /// ctr -n k8s.io ARGS: its output.
  Result<std::string> ctr(const std::vector<std::string>& args) const;
  /// Imports an OCI archive and waits until the CRI knows `reference`.
  Result<> importImage(const std::filesystem::path& archive, const std::string& reference) const;

 private:
  explicit ContainerdNode(NodeOptions options);
  Result<> writeConfig() const;
  [[nodiscard]] Result<> mountRoot() const;
  [[nodiscard]] Result<> bindRoot() const;
  Result<> launch();
  Result<> waitReady();
  [[nodiscard]] std::map<std::string, std::string> environment() const;

  NodeOptions options_;
  std::filesystem::path folder_;
  std::optional<ChildProcess> process_;
  std::unique_ptr<CriStubs> cri_;
  std::string version_;
};

}  // namespace fallbackd::e2e
