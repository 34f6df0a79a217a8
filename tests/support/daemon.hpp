// SPDX-License-Identifier: Apache-2.0
// The fallbackd under test, and the steps of a release pipeline before it: keys, signatures, installed
// binaries.
#pragma once

#include "base/error.hpp"
#include "containerd_node.hpp"
#include "http.hpp"
#include "kubelet/kubelet.hpp"
#include "process.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace fallbackd::e2e {

/// A signed cache below the run's folder, filled by fallbackctl.
class Signer {
 public:
  /// Creates the folders and a key pair; its public half is in keysDir().
  static Result<Signer> make();
  /// A signer that was made earlier, in this folder.
  static Signer at(std::filesystem::path folder) { return Signer(std::move(folder)); }
  /// make() in an existing folder of the caller.
  static Result<Signer> makeIn(const std::filesystem::path& folder);

  [[nodiscard]] std::filesystem::path cacheDir() const { return folder_ / "cache"; }
  [[nodiscard]] std::filesystem::path keysDir() const { return folder_ / "keys"; }
  [[nodiscard]] std::filesystem::path privateKey() const { return folder_ / "signing.key"; }

  /// Signs `program` as NAME@VERSION; returns the attestation's path. `imageConfig` is a file as printed by
  /// skopeo; empty: the attestation does not describe an image.
  [[nodiscard]] Result<std::filesystem::path> sign(const std::filesystem::path& program,
                                                   const std::string& name, const std::string& version,
                                                   const std::string& expires = "30d",
                                                   const std::filesystem::path& imageConfig = {}) const;
  /// Signs the program and installs it into the cache.
  [[nodiscard]] Result<> install(const std::filesystem::path& program, const std::string& name,
                                 const std::string& version, const std::string& expires = "30d",
                                 const std::filesystem::path& imageConfig = {}) const;

 private:
  explicit Signer(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path folder_;
};

struct DaemonOptions {
  std::string containerdSocket;
  std::filesystem::path cacheDir;
  std::filesystem::path keysDir;
  std::filesystem::path kubeletPods;
  std::string workloads;  // the YAML list below "workloads:", items from column 0: "- name: checkout\n  ..."
  std::string extra;      // more top-level YAML
  std::string logFormat = "human";
  std::string cache;       // more of its keys, one per line, indented by two spaces
  std::string containerd;  // the same for containerd
  std::string telemetry;   // the same for telemetry
  std::string launcher;    // and for launcher
  /// "/node-b": its cgroups begin there, as if this daemon had its own node. Its pods have the same path.
  std::string cgroupTop;
  std::filesystem::path state = {};  // cache.state; empty: this daemon's own folder
};

/// "fallbackd_recoveries_total{cause=\"dns\"}" -> value, as in /metrics.
using Metrics = std::map<std::string, double>;

/// Used by one thread. The destructor kills the daemon (not its fallbacks, which live in their pods).
class Daemon {
 public:
  /// Writes the configuration, starts fallbackd, waits for /readyz.
  static Result<std::unique_ptr<Daemon>> start(const DaemonOptions& options);

  /// More arguments for all later starts.
  void arguments(std::vector<std::string> more) { arguments_ = std::move(more); }
  /// Writes a new configuration file; the daemon has to notice it itself.
  Result<> rewriteConfig(const DaemonOptions& options);
  /// The same, and waits until the daemon has loaded it. Reason timeout, with its log, if that takes over
  /// `ceiling`.
  Result<> reload(const DaemonOptions& options, std::chrono::nanoseconds ceiling);
  /// Sends SIGTERM; returns the exit code, which should be 0.
  Result<ExitCode> stop();
  /// SIGKILL, like a crash; start it again with restart().
  void kill();
  Result<> restart();
  /// restart() without waiting until it is ready.
  Result<> launch();

  [[nodiscard]] pid_t pid() const { return process_ ? process_->pid() : 0; }
  [[nodiscard]] std::filesystem::path log() const;
  [[nodiscard]] std::filesystem::path configFile() const { return folder_ / "fallbackd.yaml"; }
  /// In memory, like /run on every node: writing the journal to a disk would take longer.
  [[nodiscard]] std::filesystem::path runFolder() const { return "/run/fallbackd" / folder_.filename(); }
  [[nodiscard]] std::filesystem::path controlSocket() const { return runFolder() / "ctl.sock"; }
  [[nodiscard]] std::uint16_t telemetryPort() const { return telemetryPort_; }
  [[nodiscard]] Result<Metrics> metrics() const;
  /// The whole log so far.
  [[nodiscard]] std::string logText() const;

 private:
  Daemon() = default;

  std::filesystem::path folder_;
  std::uint16_t telemetryPort_ = 0;
  std::string cgroupTop_;
  std::vector<std::string> arguments_;
  std::optional<ChildProcess> process_;
};

/// The sum of all metrics whose name and labels begin with `prefix` and contain `part`.
double sumOf(const Metrics& metrics, const std::string& prefix, const std::string& part = "");

/// Reads the Prometheus text format.
Metrics parseMetrics(const std::string& text);

}  // namespace fallbackd::e2e
