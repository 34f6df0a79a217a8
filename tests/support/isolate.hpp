// SPDX-License-Identifier: Apache-2.0
// Isolates an end-to-end program from the machine with its own pid, mount, network, IPC, UTS and cgroup
// namespaces, so that containerd, CNI and the daemon work as on a node and leave nothing behind.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

namespace fallbackd::e2e {

/// Forks, creates the isolation, calls `body` inside and returns its exit code (128 + signal if a signal
/// ended it). Call it once, from main(), before any thread exists. Needs root.
///
/// Inside: /run is empty and private, /var/lib is private (writes are lost), /proc and /sys/fs/cgroup show
/// only what is inside (the run's cgroup is the root), `lo` is up, IP forwarding is on, runDir() is set.
/// Outside: SIGINT, SIGTERM, SIGHUP and SIGQUIT are forwarded to the body. If this process dies in any way,
/// the kernel kills everything inside, and with it namespaces, mounts and interfaces. Cgroups and the run's
/// folder are removed at the end, or by the next run if this process was killed.
/// FALLBACKD_E2E_KEEP=1 in the environment keeps the run's folder for inspection.
///
/// The machine's own mounts are read-only inside. `outputs`: folders for results that stay writable, in
/// addition to those in the environment's *_JSON and *_SCREENSHOTS.
int runIsolated(int argc, char** argv, const std::function<int()>& body,
                std::vector<std::filesystem::path> outputs = {});

}  // namespace fallbackd::e2e
