// SPDX-License-Identifier: Apache-2.0
// The /proc of a PID namespace that none of our processes is in.
#pragma once

#include "spawner/protocol.hpp"

namespace fallbackd::launcher {

/// A detached copy of the /proc mount in the pause process's mount namespace, or -1 with errno. Only a
/// process inside a PID namespace can mount its /proc, and a pod that may trace can take over such a process
/// of ours. So the mount is taken from the pause process, and trusted only if it is a proc file system whose
/// process 1 is in the namespace `wanted`: otherwise EXDEV. For the spare, before it makes the child. May
/// wait for the pod's file systems; ends with the spare. Needs CAP_SYS_ADMIN, CAP_SYS_CHROOT and
/// CAP_SYS_PTRACE.
int takeSandboxProc(int sandbox, const sys::NamespaceId& wanted);

}  // namespace fallbackd::launcher
