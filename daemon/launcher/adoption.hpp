// SPDX-License-Identifier: Apache-2.0
// What earlier daemons left behind: takes over running processes, removes the rest. A journal names
// folders to be removed and processes to be killed, so each record is checked against the kernel first. One
// io_context thread.
#pragma once

#include "launcher/launcher.hpp"
#include "launcher/launcher_parts.hpp"
#include "launcher/logs/logs.hpp"

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// The functions are those of Launcher.
class Adoption {
 public:
  /// `parts` must outlive it.
  explicit Adoption(const LauncherParts& parts) : parts_(parts) {}

  [[nodiscard]] boost::asio::awaitable<Result<std::unique_ptr<Process>>> adopt(ProcessRecord record) const;
  [[nodiscard]] boost::asio::awaitable<Launcher::Remains> collectOrphans(
      std::vector<ProcessRecord> kept) const;
  [[nodiscard]] Unclaimed lookAgain(const Unclaimed& one) const;
  [[nodiscard]] boost::asio::awaitable<void> discard(ProcessRecord record) const;

 private:
  [[nodiscard]] boost::asio::awaitable<Result<std::unique_ptr<LogPump>>> followOutput(
      ProcessRecord record) const;
  [[nodiscard]] bool ours(const ProcessRecord& record) const;
  [[nodiscard]] Result<bool> isProcessOf(const ProcessRecord& record) const;
  [[nodiscard]] std::vector<std::string> leavesOfOurs(const std::set<std::string>& known,
                                                      Launcher::Remains& remains) const;

  const LauncherParts& parts_;
};

}  // namespace fallbackd::launcher
