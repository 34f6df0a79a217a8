// SPDX-License-Identifier: Apache-2.0
// The launcher of this machine. launch.hpp is one launch, adoption.hpp takes over what earlier daemons left.
// One io_context thread; it only touches files of the node itself. Workers touch those that a pod controls.
#pragma once

#include "launcher/adoption.hpp"
#include "launcher/launcher.hpp"
#include "launcher/launcher_parts.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::launcher {

class LocalLauncher final : public Launcher {
 public:
  using Options = LauncherOptions;
  using VerifyPause = launcher::VerifyPause;

  LocalLauncher(boost::asio::any_io_executor executor, Options options, VerifyPause verify);
  ~LocalLauncher() override;

  /// Finds the cgroup hierarchies and starts the spawner. Blocks for a few milliseconds.
  Result<> start();

  /// After a reload of the configuration, for the launches that follow; see LauncherParts.
  void reconfigure(config::LauncherSettings settings) { parts_.reconfigure(std::move(settings)); }

  boost::asio::awaitable<Result<std::unique_ptr<Process>>> launch(LaunchRequest request) override;
  boost::asio::awaitable<Result<>> probe(LaunchRequest like, std::vector<std::string> argv,
                                         std::chrono::nanoseconds timeout) override;
  boost::asio::awaitable<Result<std::unique_ptr<Process>>> adopt(ProcessRecord record) override;
  boost::asio::awaitable<Remains> collectOrphans(std::vector<ProcessRecord> kept) override;
  Result<bool> isIn(const ProcessRecord& record, const cri::SandboxStatus& sandbox) override;
  Unclaimed lookAgain(const Unclaimed& one) override;
  boost::asio::awaitable<unsigned> latestRestart(std::string logDirectory, std::string container) override;
  boost::asio::awaitable<void> discard(ProcessRecord record) override;

  [[nodiscard]] const SpawnerClient& spawner() const { return parts_.spawner; }
  /// For all work on files that a pod controls.
  [[nodiscard]] const std::shared_ptr<workers::Pool>& workers() const { return parts_.pool; }

 private:
  boost::asio::awaitable<Result<std::unique_ptr<Process>>> launchOnce(LaunchRequest request);
  boost::asio::awaitable<Result<>> probeOnce(LaunchRequest like, std::vector<std::string> argv);

  LauncherParts parts_;
  Adoption adoption_;
};

}  // namespace fallbackd::launcher
