// The new process from clone to execveat. Everything it needs is prepared before the clone; from then on it
// works in the spare's memory, allocates nothing, takes no lock and calls the kernel only.
#pragma once

#include "launcher/protocol.hpp"
#include "launcher/spawner/steps.hpp"

#include <array>
#include <linux/filter.h>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// Made in the spare, for the child that is cloned from it.
struct ChildPlan {
  /// `limits`: those of every fallback; the order's own replace them.
  ChildPlan(LaunchOrder order, LaunchFds fds, const std::vector<ProcessLimit>& limits);
  ChildPlan(const ChildPlan&) = delete;
  ChildPlan& operator=(const ChildPlan&) = delete;

  LaunchOrder order;
  LaunchFds fds;
  std::vector<sock_filter> program;
  sock_fprog filter{};  // empty: none
  std::vector<ProcessLimit> limits;
  std::vector<std::string> folders;  // of the new root beside kFolders, relative, parents first
  std::string tmpOptions;
  std::string oomScoreAdj;
  std::vector<char*> argv;
  std::vector<char*> healthArgv;
  std::vector<char*> env;
  std::array<int, kMaxEntryFds> entry{};  // the numbers of EntryFds, in their order, when they came
  std::size_t entries = 0;
  bool inUnifiedCgroup = false;  // clone put it there already
  int sandboxProc = -1;          // a detached /proc of the sandbox's PID namespace, where that is entered
  int orders = -1;               // the socket that the order came by, and that the entry is going to
  int reports = -1;              // the socket of the reports

  // The health check shares this memory until it executes. The spawner believes the child alone, so the child
  // passes on what went wrong there.
  bool inHealthCheck = false;
  bool healthFailed = false;
  ChildReport healthFailure;

  /// The health check gets a PID namespace of its own: it is never to share one with a process of ours that
  /// others could reach, nor with this one where it may trace.
  [[nodiscard]] bool healthApart() const;

  /// Which object a report speaks of, for the message.
  [[nodiscard]] std::string_view objectOf(Step step, int index) const;
};

/// The new root and what is in it: fixed folders, devices, links, masks.
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
// containerd's defaults; its masks below /sys need none, since there is no /sys.
inline constexpr std::array kMasked{"proc/acpi",        "proc/asound",        "proc/kcore",
                                    "proc/keys",        "proc/latency_stats", "proc/timer_list",
                                    "proc/timer_stats", "proc/sched_debug",   "proc/scsi"};
inline constexpr std::array kReadOnly{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};

/// Runs in the child; ends in the binary, or with a report and _exit.
[[noreturn]] void runChild(ChildPlan& plan);

// --- the parts of runChild, each in its own file; each returns or calls giveUp ---

/// Reports a failure with errno as it is now and ends the process.
[[noreturn]] void giveUp(ChildPlan& plan, Step step, int object = -1);
void report(const ChildPlan& plan, const ChildReport& report);

/// The rest of the new root, which is the process's already.
void buildRoot(ChildPlan& plan);
/// In the health check's process, which has a PID namespace of its own: a mount namespace with that /proc.
void showOwnProcesses(ChildPlan& plan);
/// The labels take effect at the next exec. Needs a /proc that shows this process.
void labelProcess(ChildPlan& plan);
/// While still root: session, keyring, limits.
void leaveDaemon(ChildPlan& plan);
/// After all that takes the host's root: in a user namespace of the sandbox there is none.
void joinSandbox(ChildPlan& plan);
/// See hide(): until execveat this process holds memory of the spawner's.
void stayHidden(ChildPlan& plan);
/// Children are born into the PID namespace of this process, whatever was entered for them before.
bool keepChildrenHere();
void becomeUser(ChildPlan& plan);
/// The last step before execveat, in the health check's process and in the binary's; before both where the
/// filter lets the one wait for the other.
void loadFilter(ChildPlan& plan);
/// As the user, in the child's own PID namespace.
void checkHealth(ChildPlan& plan);
/// While still root, in a PID namespace of the health check's own; see ChildPlan::healthApart().
void checkHealthApart(ChildPlan& plan);

}  // namespace fallbackd::launcher
