// SPDX-License-Identifier: Apache-2.0
// What all launches of one local launcher share. The launcher owns these and outlives its launches. One
// io_context thread.
#pragma once

#include "base/error.hpp"
#include "base/task_group.hpp"
#include "config/model.hpp"
#include "launcher/confinement/security.hpp"
#include "launcher/grounds.hpp"
#include "launcher/sandbox_gate.hpp"
#include "launcher/spawner_client.hpp"
#include "sys/cgroup.hpp"
#include "workers/pool.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

struct LauncherOptions : config::LauncherSettings {
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

struct LauncherParts {
  LauncherParts(boost::asio::any_io_executor owner, LauncherOptions given, VerifyPause ask);

  /// The settings of all later launches. The folders that running fallbacks share stay as they are: runDir,
  /// seccompProfiles and logLinks.
  void reconfigure(config::LauncherSettings settings);

  boost::asio::any_io_executor executor;
  LauncherOptions options;
  VerifyPause verify;
  HostNamespaces host;  // set by LocalLauncher::start(), as is grounds
  Grounds grounds;
  Confinement confinement;
  SpawnerClient spawner;
  std::shared_ptr<workers::Pool> pool;
  /// Leaves of running probes: they are not orphans.
  std::set<std::string> probeLeaves;
  TaskGroup tasks;
};

}  // namespace fallbackd::launcher
