// SPDX-License-Identifier: Apache-2.0
// Every descriptor number, and every position in a message, on which the daemon, the spawner and its
// processes rely.
#pragma once

#include "sys/helper_program.hpp"

#include <cstddef>

namespace fallbackd::launcher {

/// Where the spawner finds its socket. All its other descriptors have whatever numbers the kernel gives.
inline constexpr int kSpawnerSocket = sys::kHelperSocket;

// In the child, once the entry has arrived: these after standard input and output, and no others.
inline constexpr int kExecutable = 3;    // until execveat
inline constexpr int kReportSocket = 4;  // until execveat
inline constexpr int kSandbox = 5;       // the pause process; closed when it has been joined
inline constexpr int kFirstToClose = 6;

// The order of the entry's descriptors; see EntryFds.
inline constexpr std::size_t kEntryOut = 0;
inline constexpr std::size_t kEntryErr = 1;
inline constexpr std::size_t kEntryTasks = 2;  // the first of them
inline constexpr std::size_t kMaxEntryFds = kEntryTasks + 32;

// The order of the launch's descriptors; see LaunchFds. Executable and sandbox, with
// LaunchOrder::unifiedCgroup the cgroup's folder and cgroup.procs, then one for each mount.
inline constexpr std::size_t kLaunchAlways = 2;
inline constexpr std::size_t kLaunchUnified = 2;

}  // namespace fallbackd::launcher
