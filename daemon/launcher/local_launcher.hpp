// SPDX-License-Identifier: Apache-2.0
// The launcher of this machine: combines sandbox, leaf, volumes and log files into a launch and has the
// spawner execute it. Slow parts run while the new process builds its root. One io_context thread; it only
// touches files of the node itself. Workers touch those that a pod controls.
#pragma once

#include "base/task_group.hpp"
#include "launcher/confinement/security.hpp"
#include "launcher/launcher.hpp"
#include "launcher/local_process.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/pod_files.hpp"
#include "launcher/sandbox_gate.hpp"
#include "launcher/spawner_client.hpp"
#include "sys/cgroup.hpp"
#include "workers/pool.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::launcher {

class LocalLauncher final : public Launcher {
 public:
  struct Options : config::LauncherSettings {
    std::string spawnerProgram;  // empty: "fallbackd-spawner" in the folder of our own program
    KernelFolders kernel;
    /// Only these hierarchies; absent: all that are mounted.
    std::optional<std::vector<sys::CgroupHierarchy>> cgroups;
    std::string workerProgram = {};  // empty: "fallbackd-worker" in the folder of our own program
    /// For all volumes of a pod together: their server may need the network.
    std::chrono::nanoseconds volumesLimit = std::chrono::seconds(5);
  };
  /// Asks the container runtime for the sandbox's current pause process. Called after the process in the
  /// request was opened, if its cgroup does not prove whose it is; a different answer is sandbox_changed.
  /// Empty: not asked.
  using VerifyPause = std::function<boost::asio::awaitable<Result<pid_t>>(std::string sandboxId)>;

  LocalLauncher(boost::asio::any_io_executor executor, Options options, VerifyPause verify);
  ~LocalLauncher() override;

  /// Finds the cgroup hierarchies and starts the spawner. Blocks for a few milliseconds.
  Result<> start();

  boost::asio::awaitable<Result<std::unique_ptr<Process>>> launch(LaunchRequest request) override;
  boost::asio::awaitable<Result<std::unique_ptr<Process>>> adopt(ProcessRecord record) override;
  boost::asio::awaitable<Remains> collectOrphans(std::vector<ProcessRecord> kept) override;
  Result<bool> isIn(const ProcessRecord& record, const cri::SandboxStatus& sandbox) override;
  Unclaimed lookAgain(const Unclaimed& one) override;
  boost::asio::awaitable<unsigned> latestRestart(std::string logDirectory, std::string container) override;
  boost::asio::awaitable<void> discard(ProcessRecord record) override;

  [[nodiscard]] const SpawnerClient& spawner() const { return spawner_; }
  /// For all work on files that a pod controls.
  [[nodiscard]] const std::shared_ptr<workers::Pool>& workers() const { return workers_; }

 private:
  struct Launch;
  struct Question;

  boost::asio::awaitable<Result<std::unique_ptr<Process>>> launchOnce(LaunchRequest request);
  boost::asio::awaitable<Result<>> prepare(Launch& launch);
  boost::asio::awaitable<Result<>> begin(Launch& launch);
  [[nodiscard]] LogTarget logTarget(const Launch& launch) const;
  void beginVolumes(Launch& launch);
  static boost::asio::awaitable<Result<>> takeVolumes(Launch& launch);
  Result<> openMounts(Launch& launch);
  Result<> makeFifos(Launch& launch, uid_t owner);
  boost::asio::awaitable<Result<>> openEntry(Launch& launch);
  boost::asio::awaitable<Result<>> checkPause(const Launch& launch);
  boost::asio::awaitable<Result<StartedProcess>> finish(Launch& launch);
  std::unique_ptr<Process> makeProcess(Launch& launch, StartedProcess started);
  [[nodiscard]] bool ours(const ProcessRecord& record) const;
  [[nodiscard]] bool isOfLaunch(const StartedProcess& started, const Launch& launch) const;
  [[nodiscard]] Result<bool> isProcessOf(const ProcessRecord& record) const;
  std::vector<std::string> leavesOfOurs(const std::set<std::string>& known, Remains& remains) const;

  boost::asio::any_io_executor executor_;
  Options options_;
  VerifyPause verify_;
  HostNamespaces host_;
  Grounds grounds_;  // from start() on
  Confinement confinement_;
  SpawnerClient spawner_;
  std::shared_ptr<workers::Pool> workers_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
