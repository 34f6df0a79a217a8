// SPDX-License-Identifier: Apache-2.0
// The new root: a read-only tmpfs with exactly what a container of the pod would find, and nothing of the
// host. Folders, devices and links are ours, volumes are mounted without following symlinks, and it is
// verified that nothing outside can be reached any more. On failure each function reports its step and ends
// the process.
#pragma once

#include "spawner/child_plan.hpp"

#include <array>

namespace fallbackd::launcher {

// Its fixed content: folders, devices, links, masks.
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

/// In the spare, in advance: mounts the new root, creates what does not depend on an order, and enters it.
/// From here on no path leads to another root.
void buildBareRoot(int reports);

/// In the child, whose root it already is, between clone and execveat: adds the order's files and volumes,
/// /proc (with the process's label and oom_score_adj) and /tmp, then makes it read-only. Allocates nothing.
void buildRoot(ChildPlan& plan);

/// In the health check's process, which has its own PID namespace: a mount namespace with that /proc.
/// Allocates nothing.
void showOwnProcesses(ChildPlan& plan);

}  // namespace fallbackd::launcher
