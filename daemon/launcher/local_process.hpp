// SPDX-License-Identifier: Apache-2.0
// A fallback on this machine: its pidfd reports its end, whatever its parent is. One io_context thread.
#pragma once

#include "base/task_group.hpp"
#include "launcher/grounds.hpp"
#include "launcher/launcher.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/spawner_client.hpp"
#include "sys/cgroup.hpp"
#include "sys/fd.hpp"

#include <memory>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::launcher {

class LocalProcess final : public Process {
 public:
  /// `exit`: the spawner's report of the end; null for a process of an earlier daemon.
  LocalProcess(boost::asio::any_io_executor executor, Grounds grounds, ProcessRecord record,
               LaunchTimes times, sys::PidFd process, std::shared_ptr<ExitNotice> exit,
               std::unique_ptr<LogPump> logs, std::vector<std::string> notes = {},
               sys::NamespaceFd network = {});

  [[nodiscard]] const ProcessRecord& record() const override { return record_; }
  [[nodiscard]] const LaunchTimes& times() const override { return times_; }
  [[nodiscard]] std::vector<std::string> notes() const override { return notes_; }
  [[nodiscard]] std::shared_ptr<const sys::NamespaceFd> network() const override { return network_; }
  boost::asio::awaitable<ExitStatus> exited() override;
  boost::asio::awaitable<ExitStatus> exitedAndTold() override;
  boost::asio::awaitable<ExitStatus> stop(std::chrono::nanoseconds grace) override;

 private:
  struct Life;

  static boost::asio::awaitable<void> watch(std::shared_ptr<Life> life);
  void signal(int number) const;

  boost::asio::any_io_executor executor_;
  Grounds grounds_;
  ProcessRecord record_;
  LaunchTimes times_;
  std::shared_ptr<Life> life_;  // shared with watch()
  std::unique_ptr<LogPump> logs_;
  std::vector<std::string> notes_;
  std::shared_ptr<const sys::NamespaceFd> network_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::launcher
