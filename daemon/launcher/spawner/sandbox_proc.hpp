// The /proc of a PID namespace that nobody of ours is in.
#pragma once

#include "launcher/protocol.hpp"

namespace fallbackd::launcher {

/// A detached copy of the /proc mount that the pause process has in its mount namespace, or -1 with errno.
/// Only a process inside of a PID namespace can mount its /proc, and whoever is inside and may mount can be
/// taken over by a pod that may trace. So it is taken from the pause process, and trusted only where it is a
/// proc file system whose process 1 is in the namespace `wanted`: else EXDEV.
/// For the spare, before it makes the child. May wait for the file systems of the pod; ends with the spare.
/// Needs CAP_SYS_ADMIN, CAP_SYS_CHROOT and CAP_SYS_PTRACE.
int takeSandboxProc(int sandbox, const sys::NamespaceId& wanted);

}  // namespace fallbackd::launcher
