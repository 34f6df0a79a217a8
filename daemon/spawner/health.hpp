// SPDX-License-Identifier: Apache-2.0
// The health check: the same binary with other arguments, run as a child of the process that will become the
// binary, or that only watches it, with the same root, user and filter. Returns if it succeeded in time and
// nothing of it is left. Otherwise both functions report why and end the process. Runs between clone and
// execveat: allocates nothing.
#pragma once

#include "spawner/child_plan.hpp"

namespace fallbackd::launcher {

/// As the user, in the child's own PID namespace.
void checkHealth(ChildPlan& plan);
/// While still root, in the health check's own PID namespace; see ChildPlan::healthApart().
void checkHealthApart(ChildPlan& plan);

}  // namespace fallbackd::launcher
