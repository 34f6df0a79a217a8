// SPDX-License-Identifier: Apache-2.0
// The new process from clone to execveat. Everything it needs is prepared before the clone; after that it
// works in the spare's memory, allocates nothing, takes no lock and only makes system calls.
#pragma once

#include "spawner/child_plan.hpp"

namespace fallbackd::launcher {

/// Runs in the child; ends in the binary, or with a report and _exit. Its parts: root.hpp, namespaces.hpp,
/// identity.hpp, health.hpp.
[[noreturn]] void runChild(ChildPlan& plan);

}  // namespace fallbackd::launcher
