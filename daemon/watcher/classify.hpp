// SPDX-License-Identifier: Apache-2.0
// Turns the answer of PullImage into a cause. The gRPC codes do not distinguish causes, so the text is parsed
// (causes/).
#pragma once

#include "cri/runtime.hpp"
#include "domain/cause.hpp"
#include "watcher/causes/pull_error.hpp"

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace fallbackd::watcher {

struct PullFailure {
  Cause cause = Cause::unknown;
  Extent extent = Extent::registry;
};

/// Why a pull failed. Empty if the answer says nothing about the registry, because the call did not reach
/// containerd, was cancelled by us, or waits for another pull of this node. `reference`: as it was requested,
/// so that nothing that its author wrote decides. `mirrors`: addresses (HOST:PORT) at which containerd asks
/// this daemon first. Of several hosts, containerd 1.x reports the failure of the first one, so a connection
/// that was refused there says nothing about the registry, and must not count as its outage.
std::optional<PullFailure> readFailure(const cri::PullOutcome& outcome, std::string_view reference = {},
                                       const std::set<std::string>& mirrors = {});

/// Its cause alone.
std::optional<Cause> classify(const cri::PullOutcome& outcome, std::string_view reference = {});

}  // namespace fallbackd::watcher
