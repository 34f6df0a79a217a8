// SPDX-License-Identifier: Apache-2.0
// From root to the workload's user: labels, session, keyring, limits, user and groups, capabilities, seccomp.
// In this order, because each step removes what the one before it needed; afterwards no privilege comes back.
// Runs between clone and execveat: allocates nothing, takes no lock. On failure each function reports its
// step and ends the process: nothing runs half confined.
#pragma once

#include "spawner/child_plan.hpp"

namespace fallbackd::launcher {

/// The labels take effect at the next exec. Needs a /proc that shows this process.
void labelProcess(ChildPlan& plan);
/// While still root: session, keyring, limits.
void leaveDaemon(ChildPlan& plan);
/// See hide(): until execveat this process holds the spawner's memory.
void stayHidden(ChildPlan& plan);
/// User and groups, exactly the order's capabilities, no_new_privs, working directory. After the sandbox's
/// namespaces were joined.
void becomeUser(ChildPlan& plan);
/// The last step before execveat, in the health check's process and in the binary's; before both if the
/// filter allows one to wait for the other.
void loadFilter(ChildPlan& plan);

}  // namespace fallbackd::launcher
