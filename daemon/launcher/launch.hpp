// SPDX-License-Identifier: Apache-2.0
// One launch: prepares sandbox, leaf, volumes, FIFOs and log file, and has the spawner execute the binary.
// Slow parts run while the new process builds its root. One io_context thread; it only touches files of the
// node itself. Workers touch those that a pod controls.
#pragma once

#include "launcher/cgroup/cgroup_leaf.hpp"
#include "launcher/launcher.hpp"
#include "launcher/launcher_parts.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/pause_check.hpp"
#include "launcher/pod_files.hpp"

#include <memory>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// If it ends early, its leaf and FIFOs are removed.
class Launch {
 public:
  /// `parts` must outlive it.
  Launch(LauncherParts& parts, LaunchRequest request);
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch();

  /// Once. See Launcher::launch(); reason already_exists if a leaf was left over; it is removed then.
  boost::asio::awaitable<Result<std::unique_ptr<Process>>> run();
  /// Instead of run(): only a health check with these arguments, including argv[0]; the request limits its
  /// time.
  boost::asio::awaitable<Result<>> probe(std::vector<std::string> argv);

 private:
  boost::asio::awaitable<Result<>> prepare();
  boost::asio::awaitable<Result<>> begin();
  Result<uid_t> ownerOnHost();
  void beginVolumes();
  boost::asio::awaitable<Result<>> takeVolumes();
  Result<> openMounts();
  Result<> makeFifos(uid_t owner);
  boost::asio::awaitable<Result<>> prepareEntry(uid_t owner);
  boost::asio::awaitable<Result<>> openEntry();
  Result<> openNoEntry();
  boost::asio::awaitable<void> dropRemains();
  void noteProbe();
  [[nodiscard]] bool isProbe() const { return !probeArgv_.empty(); }
  void linkLog();
  [[nodiscard]] LogTarget logTarget() const;
  boost::asio::awaitable<Result<StartedProcess>> finish();
  [[nodiscard]] boost::asio::awaitable<Result<>> checkStarted(const StartedProcess& started) const;
  [[nodiscard]] Result<> isHeld(const StartedProcess& started) const;
  std::unique_ptr<Process> makeProcess(StartedProcess started);
  [[nodiscard]] boost::asio::awaitable<void> removeRemains() const;

  LauncherParts& parts_;
  LaunchRequest request_;
  std::vector<std::string> probeArgv_;    // empty: the binary is started
  std::vector<std::string> probeLeaves_;  // what LauncherParts knows of it
  Grounds grounds_;
  LaunchTimes times_;
  OpenSandbox sandbox_;
  std::vector<std::string> notes_;
  PauseCheck pauseCheck_;
  LaunchOrder order_;
  std::string fileLabel_;  // the order's
  LaunchFds fds_;
  CgroupLeaf leaf_;
  BegunLaunch begun_;
  EntryFds entry_;
  bool fifosMade_ = false;
  std::string logFile_;
  std::unique_ptr<workers::Begun> asked_;  // for the volumes, if it has any
  PodVolumes volumes_;
  std::unique_ptr<workers::Begun> openedLog_;
  std::unique_ptr<LogPump> logs_;
  bool kept_ = false;  // nothing left to remove
};

}  // namespace fallbackd::launcher
