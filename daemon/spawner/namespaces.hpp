// SPDX-License-Identifier: Apache-2.0
// Which namespaces the child and its health check are in. Runs between clone and execveat: allocates nothing.
#pragma once

#include "spawner/child_plan.hpp"

namespace fallbackd::launcher {

/// Joins the sandbox's network, IPC and UTS namespaces, and its user namespace if it has one; its PID
/// namespace, if wanted, is for the child's children. After everything that needs the host's root, which does
/// not exist in a user namespace of the sandbox. Closes the descriptor of the sandbox.
void joinSandbox(ChildPlan& plan);

/// Creates children in this process's own PID namespace, whatever was entered for them before. False with
/// errno if that fails.
bool keepChildrenHere();

}  // namespace fallbackd::launcher
