// SPDX-License-Identifier: Apache-2.0
#include "spawner/namespaces.hpp"

#include "spawner/descriptors.hpp"
#include "spawner/identity.hpp"

#include <cerrno>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::launcher {

/// The kernel requires a user namespace to be joined together with the others. The PID namespace applies to
/// future children: this process stays outside it.
void joinSandbox(ChildPlan& plan) {
  const bool entersPids = plan.order.pids == PidNamespace::sandbox && !plan.inHealthCheck;
  const int kinds = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | (entersPids ? CLONE_NEWPID : 0) |
                    (plan.order.sandboxUsers ? CLONE_NEWUSER : 0);
  if (::setns(kSandbox, kinds) != 0) giveUp(plan, Step::join_sandbox);
  ::close(kSandbox);
  stayHidden(plan);
}

bool keepChildrenHere() {
  const int self = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  const bool kept = self >= 0 && ::setns(self, CLONE_NEWPID) == 0;
  const int error = errno;
  if (self >= 0) ::close(self);
  errno = error;
  return kept;
}

}  // namespace fallbackd::launcher
