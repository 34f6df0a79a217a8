// SPDX-License-Identifier: Apache-2.0
// The new process from clone to execveat. Everything it needs is prepared before the clone; after that it
// works in the spare's memory, allocates nothing, takes no lock and only makes system calls.
#pragma once

#include "spawner/child_report.hpp"
#include "spawner/protocol.hpp"

#include <array>
#include <linux/filter.h>
#include <string>
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

/// The new root and its content: fixed folders, devices, links, masks.
struct Device {
  const char* path;
  unsigned major;
  unsigned minor;
};
inline constexpr std::array kFolders{"dev", "dev/shm", "etc", "proc", "sys", "tmp"};
inline constexpr std::array kUsualFiles{"etc/group", "etc/hostname", "etc/hosts", "etc/passwd",
                                        "etc/resolv.conf"};
inline constexpr std::array kDevices{Device{"dev/null", 1, 3},    Device{"dev/zero", 1, 5},
                                     Device{"dev/full", 1, 7},    Device{"dev/random", 1, 8},
                                     Device{"dev/urandom", 1, 9}, Device{"dev/tty", 5, 0}};
struct Link {
  const char* path;
  const char* target;
};
inline constexpr std::array kLinks{Link{"dev/fd", "/proc/self/fd"}, Link{"dev/stdin", "/proc/self/fd/0"},
                                   Link{"dev/stdout", "/proc/self/fd/1"},
                                   Link{"dev/stderr", "/proc/self/fd/2"}};
// containerd's defaults; its masks below /sys are not needed because there is no /sys.
inline constexpr std::array kMasked{"proc/acpi",        "proc/asound",        "proc/kcore",
                                    "proc/keys",        "proc/latency_stats", "proc/timer_list",
                                    "proc/timer_stats", "proc/sched_debug",   "proc/scsi"};
inline constexpr std::array kReadOnly{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};

/// Runs in the child; ends in the binary, or with a report and _exit.
[[noreturn]] void runChild(ChildPlan& plan);

// --- the parts of runChild, each in its own file; each returns or calls giveUp ---

/// Reports a failure with the current errno and ends the process.
[[noreturn]] void giveUp(ChildPlan& plan, Step step, int object = -1);
void report(const ChildPlan& plan, const ChildReport& report);

/// The rest of the new root, which is already the process's root.
void buildRoot(ChildPlan& plan);
/// In the health check's process, which has its own PID namespace: a mount namespace with that /proc.
void showOwnProcesses(ChildPlan& plan);
/// The labels take effect at the next exec. Needs a /proc that shows this process.
void labelProcess(ChildPlan& plan);
/// While still root: session, keyring, limits.
void leaveDaemon(ChildPlan& plan);
/// After everything that needs the host's root, which does not exist in a user namespace of the sandbox.
void joinSandbox(ChildPlan& plan);
/// See hide(): until execveat this process holds the spawner's memory.
void stayHidden(ChildPlan& plan);
/// Creates children in this process's own PID namespace, whatever was entered for them before.
bool keepChildrenHere();
void becomeUser(ChildPlan& plan);
/// The last step before execveat, in the health check's process and in the binary's; before both if the
/// filter allows one to wait for the other.
void loadFilter(ChildPlan& plan);
/// As the user, in the child's own PID namespace.
void checkHealth(ChildPlan& plan);
/// While still root, in the health check's own PID namespace; see ChildPlan::healthApart().
void checkHealthApart(ChildPlan& plan);

}  // namespace fallbackd::launcher
