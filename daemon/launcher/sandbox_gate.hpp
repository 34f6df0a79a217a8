// Whether a sandbox may be joined: the pause process is held by pidfd first and looked at then, so that no
// other process can take its place unseen.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"
#include "sys/fd.hpp"

namespace fallbackd::launcher {

/// Opens the pause process and checks its namespaces against the host's (those of process 1 and our own).
/// Stage sandbox; sandbox_gone where it runs no more, host_namespace where joining would mean to be on the
/// host: the network (and with it the host name) only with `allowHostNetwork` and for a pod that asked for
/// it, IPC never. A sandbox with a user namespace of its own is refused (not_permitted): its ids would not
/// be those of the workload.
Result<sys::PidFd> openSandbox(const cri::SandboxStatus& status, bool allowHostNetwork);

}  // namespace fallbackd::launcher
