// From what PullImage answered to the cause. The codes do not tell, so the texts are matched
// (../shared facts: "What CRI PullImage returns").
#pragma once

#include "base/cause.hpp"
#include "cri/runtime.hpp"

#include <optional>

namespace fallbackd::watcher {

/// The cause of a failed pull. Empty where the answer says nothing about the registry, because the call
/// did not reach containerd or was cancelled by us.
std::optional<Cause> classify(const cri::PullOutcome& outcome);

}  // namespace fallbackd::watcher
