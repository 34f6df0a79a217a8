// SPDX-License-Identifier: Apache-2.0
// Everything that a child needs from clone to execveat, prepared in its spare, where allocating is allowed.
// The child works in the spare's memory: what it calls here allocates nothing and takes no lock.
#pragma once

#include "spawner/child_report.hpp"
#include "spawner/protocol.hpp"

#include <array>
#include <cstddef>
#include <linux/filter.h>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::launcher {

/// Made in the spare, for the child that is cloned from it.
struct ChildPlan {
  /// `limits`: those of every fallback; the order's own override them.
  ChildPlan(LaunchOrder order, LaunchFds fds, const std::vector<ProcessLimit>& limits);
  ChildPlan(const ChildPlan&) = delete;
  ChildPlan& operator=(const ChildPlan&) = delete;

  LaunchOrder order;
  LaunchFds fds;
  std::vector<sock_filter> program;
  sock_fprog filter{};  // empty: none
  std::vector<ProcessLimit> limits;
  std::vector<std::string> folders;  // of the new root in addition to kFolders, relative, parents first
  std::string tmpOptions;
  std::string oomScoreAdj;
  std::vector<char*> argv;
  std::vector<char*> healthArgv;
  std::vector<char*> env;
  std::array<int, kMaxEntryFds> entry{};  // the numbers of EntryFds, in order, once they have arrived
  std::size_t entries = 0;
  bool inUnifiedCgroup = false;  // clone already put it there
  int sandboxProc = -1;          // a detached /proc of the sandbox's PID namespace, if that is entered
  int orders = -1;               // the socket on which the order came, and on which the entry will come
  int reports = -1;              // the socket of the reports

  // The health check shares this memory until it executes. The spawner believes only the child, so the child
  // forwards failures of the health check.
  bool inHealthCheck = false;
  bool healthFailed = false;
  ChildReport healthFailure;

  /// The health check gets its own PID namespace: it must never share one with a process of ours that others
  /// could reach, nor with this process if it may trace.
  [[nodiscard]] bool healthApart() const;

  /// The object that a report is about, for the message.
  [[nodiscard]] std::string_view objectOf(Step step, int index) const;
};

/// For the child: sends the report; ends the process if the reader is gone.
void report(const ChildPlan& plan, const ChildReport& report);
/// For the child: reports a failure with the current errno and ends the process.
[[noreturn]] void giveUp(ChildPlan& plan, Step step, int object = -1);

}  // namespace fallbackd::launcher
