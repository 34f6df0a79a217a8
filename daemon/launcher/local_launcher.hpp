// The launcher of this machine: makes a launch out of the sandbox, the leaf, the volumes and the log files,
// and has the spawner do it. What takes time is done while the new process builds its root. One io_context
// thread; steps that touch files block it for some microseconds.
#pragma once

#include "base/task_group.hpp"
#include "launcher/launcher.hpp"
#include "launcher/local_process.hpp"
#include "launcher/sandbox_gate.hpp"
#include "launcher/security.hpp"
#include "launcher/spawner_client.hpp"
#include "sys/cgroup.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::launcher {

class LocalLauncher final : public Launcher {
 public:
  struct Options : config::LauncherSettings {
    std::string spawnerProgram;  // empty: "fallbackd-spawner" beside our own program
    KernelFolders kernel;
    /// Only these hierarchies; absent: all that are mounted.
    std::optional<std::vector<sys::CgroupHierarchy>> cgroups;
  };
  /// Asks the container runtime which pause process the sandbox has now. Called when the one that the request
  /// names is already held and its cgroup does not tell whose it is; another answer is sandbox_changed.
  /// Empty: not asked.
  using VerifyPause = std::function<boost::asio::awaitable<Result<pid_t>>(std::string sandboxId)>;

  LocalLauncher(boost::asio::any_io_executor executor, Options options, VerifyPause verify);
  ~LocalLauncher() override;

  /// Finds the cgroup hierarchies and starts the spawner. Blocks for some milliseconds.
  Result<> start();

  boost::asio::awaitable<Result<std::unique_ptr<Process>>> launch(LaunchRequest request) override;
  boost::asio::awaitable<Result<std::unique_ptr<Process>>> adopt(ProcessRecord record) override;
  boost::asio::awaitable<Orphans> collectOrphans(std::vector<ProcessRecord> kept) override;

  [[nodiscard]] const SpawnerClient& spawner() const { return spawner_; }

 private:
  struct Launch;
  struct Question;

  boost::asio::awaitable<Result<std::unique_ptr<Process>>> launchOnce(LaunchRequest request);
  boost::asio::awaitable<Result<>> prepare(Launch& launch);
  boost::asio::awaitable<Result<>> begin(Launch& launch);
  Result<> openMounts(Launch& launch);
  Result<> makeFifos(Launch& launch, uid_t owner);
  Result<> openEntry(Launch& launch);
  boost::asio::awaitable<Result<>> checkPause(const Launch& launch);
  boost::asio::awaitable<Result<StartedProcess>> finish(Launch& launch);
  std::unique_ptr<Process> makeProcess(Launch& launch, StartedProcess started);
  [[nodiscard]] bool ours(const ProcessRecord& record) const;

  boost::asio::any_io_executor executor_;
  Options options_;
  VerifyPause verify_;
  HostNamespaces host_;
  Grounds grounds_;  // from start() on
  Confinement confinement_;
  SpawnerClient spawner_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
