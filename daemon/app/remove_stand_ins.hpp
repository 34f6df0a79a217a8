// SPDX-License-Identifier: Apache-2.0
// fallbackd --remove-stand-ins: what an uninstall does on each node.
#pragma once

#include "config/model.hpp"

namespace fallbackd::app {

/// Removes the stand-ins of the daemon with this configuration, and their images; prints how many. Fallbacks
/// go on. Returns an exit code: 1 if containerd does not answer. Blocks.
int removeStandIns(const config::Config& config);

}  // namespace fallbackd::app
