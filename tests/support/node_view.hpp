// What the inside of a run sees of the machine: made once, by pid 1 of the new namespaces.
#pragma once

#include "base/error.hpp"

#include <filesystem>

namespace fallbackd::e2e {

/// Private mounts, /proc, /sys/fs/cgroup, /run, /var/lib, `lo`, IP forwarding, host name. `scratch` is the
/// run's folder. Errors name the step.
Result<> makeNodeView(const std::filesystem::path& scratch);

}  // namespace fallbackd::e2e
