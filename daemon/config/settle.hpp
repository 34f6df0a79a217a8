// SPDX-License-Identifier: Apache-2.0
// `settle: auto` needs an API server that knows of rollouts.
#pragma once

#include "config/model.hpp"

#include <string>

namespace fallbackd::config {

/// Why `auto` means never here, as a clause; empty: it does not, or something else is configured.
std::string problemOfSettle(const Config& config, const Workload& workload);
/// The same for the node's `settle` and for all workloads.
std::string problemOfSettle(const Config& config);

}  // namespace fallbackd::config
