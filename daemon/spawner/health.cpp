// SPDX-License-Identifier: Apache-2.0
#include "spawner/health.hpp"

#include "spawner/descriptors.hpp"
#include "spawner/identity.hpp"
#include "spawner/namespaces.hpp"
#include "spawner/root.hpp"
#include "spawner/tell.hpp"

#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

// Only one health check runs per process, and the CLONE_VFORK child needs its own stack.
alignas(64) char healthStack[64 * 1024];  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

/// Returns, as far as the compiler knows: before a call that never returns, AddressSanitizer inspects the
/// stack with system calls that the filter may deny.
int execute(ChildPlan& plan) {
  ::syscall(SYS_execveat, kExecutable, "", plan.healthArgv.data(), plan.env.data(), AT_EMPTY_PATH);
  if (errno != 0) giveUp(plan, Step::exec);
  return 1;
}

// Both run in the health check's process, which shares the waiting process's memory until it executes.

int besideTheChild(void* argument) {
  auto& plan = *static_cast<ChildPlan*>(argument);
  if (!plan.order.filterLetsWait) loadFilter(plan);
  return execute(plan);
}

int apart(void* argument) {
  auto& plan = *static_cast<ChildPlan*>(argument);
  showOwnProcesses(plan);
  joinSandbox(plan);
  becomeUser(plan);
  // After the change of user, which clears it; execveat does not.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  loadFilter(plan);
  return execute(plan);
}

/// Kills and reaps whatever outlives a health check as a daemon: in its own PID namespace, that is every
/// other process.
void endAllOthers() {
  do {
    ::kill(-1, SIGKILL);
  } while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR);
}

[[noreturn]] void unhealthy(const ChildPlan& plan, ChildReport::Health how, int value) {
  ChildReport verdict;
  verdict.kind = ChildReport::Kind::unhealthy;
  verdict.step = Step::health_check;
  verdict.health = how;
  verdict.value = value;
  report(plan, verdict);
  ::_exit(1);
}

/// True if it ended in time.
bool waitFor(int pidfd, std::int64_t timeoutNs) {
  const auto start = monotonicNs();
  for (std::int64_t left = timeoutNs; left > 0;) {
    const timespec patience{left / 1'000'000'000, left % 1'000'000'000};
    pollfd polled{pidfd, POLLIN, 0};
    if (::ppoll(&polled, 1, &patience, nullptr) > 0) return true;
    left = timeoutNs - (monotonicNs() - start);
  }
  return false;
}

struct HealthCheck {
  int pid = -1;
  int pidfd = -1;
  bool inTime = false;
};

/// Starts it and waits until it ends or the time limit expires.
HealthCheck run(ChildPlan& plan, int (*entry)(void*)) {
  HealthCheck check;
  plan.inHealthCheck = true;
  check.pid = ::clone(entry, healthStack + sizeof healthStack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                      &plan, &check.pidfd);
  plan.inHealthCheck = false;
  if (check.pid < 0) giveUp(plan, Step::health_start);
  if (plan.healthFailed) {
    report(plan, plan.healthFailure);
    ::_exit(1);
  }
  check.inTime = waitFor(check.pidfd, plan.order.healthTimeoutNs);
  return check;
}

/// Its exit status, reaped here unless `clean` has done it.
void conclude(ChildPlan& plan, const HealthCheck& check, void (*clean)()) {
  siginfo_t ended{};
  if (check.inTime && ::waitid(P_PID, static_cast<id_t>(check.pid), &ended, WEXITED) != 0) {
    giveUp(plan, Step::health_check);
  }
  ::close(check.pidfd);
  clean();
  if (!check.inTime) unhealthy(plan, ChildReport::Health::timed_out, 0);
  if (ended.si_code != CLD_EXITED) unhealthy(plan, ChildReport::Health::signaled, ended.si_status);
  if (ended.si_status != 0) unhealthy(plan, ChildReport::Health::exited, ended.si_status);
}

void reapChildren() {
  while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR) {
  }
}

}  // namespace

void checkHealth(ChildPlan& plan) {
  conclude(plan, run(plan, &besideTheChild), &endAllOthers);
}

void checkHealthApart(ChildPlan& plan) {
  if (::unshare(CLONE_NEWPID) != 0) giveUp(plan, Step::health_pids);
  const auto check = run(plan, &apart);
  // It is pid 1 of its namespace: when it ends, everything in there ends.
  if (!check.inTime) ::kill(check.pid, SIGKILL);
  conclude(plan, check, &reapChildren);
  if (!keepChildrenHere()) giveUp(plan, Step::health_pids);
}

}  // namespace fallbackd::launcher
