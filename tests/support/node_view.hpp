// SPDX-License-Identifier: Apache-2.0
// What a run sees of the machine from inside: set up once, by pid 1 of the new namespaces.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <vector>

namespace fallbackd::e2e {

/// Sets up private mounts with the machine's read-only; /proc, /sys/fs/cgroup, /run, /var/lib, `lo`, IP
/// forwarding, host name. `scratch` is the run's folder, `outputs` are more folders for results. Errors name
/// the step.
Result<> makeNodeView(const std::filesystem::path& scratch,
                      const std::vector<std::filesystem::path>& outputs);

}  // namespace fallbackd::e2e
