// The health check: the same binary with other arguments, as a child of the process that waits to become the
// binary, with the same root, user and filter.
#include "launcher/spawner/child.hpp"
#include "launcher/spawner/tell.hpp"

#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

constexpr int kExecutableFd = 3;  // where arrangeFds put it

// Only one health check runs in a process, and the child of CLONE_VFORK needs a stack of its own.
alignas(64) char healthStack[64 * 1024];  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

/// In the health check's process, which shares the memory of the waiting one until it executes.
int executeHealthCheck(void* argument) {
  const auto& plan = *static_cast<const ChildPlan*>(argument);
  if (!plan.order.filterLetsWait) loadFilter(plan);
  ::syscall(SYS_execveat, kExecutableFd, "", plan.healthArgv.data(), plan.env.data(), AT_EMPTY_PATH);
  giveUp(plan, Step::exec);
}

/// Kills and buries whoever outlives a health check as a daemon: in a PID namespace of its own that is
/// everybody else.
void endAllOthers() {
  do {
    ::kill(-1, SIGKILL);
  } while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR);
}

/// In the sandbox's PID namespace there are others: only our own children may be ended. What a health check
/// leaves behind becomes our child, since we are its subreaper, and its children do when it ends.
void endOwnChildren(const ChildPlan& plan) {
  do {
    char list[4096];  // what does not fit is there at the next turn
    const int file = ::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    const ssize_t size = file < 0 ? -1 : ::read(file, list, sizeof list - 1);
    if (size < 0) giveUp(plan, Step::health_clean);
    ::close(file);
    list[size] = '\0';
    int pid = 0;
    for (const char* at = list; *at != '\0'; ++at) {
      if (*at >= '0' && *at <= '9') {
        pid = pid * 10 + (*at - '0');
      } else if (pid > 0) {  // each number ends in a blank; one that was cut off does not
        ::kill(std::exchange(pid, 0), SIGKILL);
      }
    }
  } while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR);
}

void endWhatIsLeft(const ChildPlan& plan) {
  if (!plan.order.sandboxPids) {
    endAllOthers();
    return;
  }
  endOwnChildren(plan);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);  // execveat would keep it
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

/// True when it ended in time.
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

}  // namespace

void checkHealth(ChildPlan& plan) {
  if (plan.order.sandboxPids && ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
    giveUp(plan, Step::health_start);
  }
  int pidfd = -1;
  const int pid = ::clone(&executeHealthCheck, healthStack + sizeof healthStack,
                          CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
  if (pid < 0) giveUp(plan, Step::health_start);
  const bool inTime = waitFor(pidfd, plan.order.healthTimeoutNs);
  siginfo_t ended{};
  if (inTime && ::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED) != 0)
    giveUp(plan, Step::health_check);
  ::close(pidfd);
  endWhatIsLeft(plan);
  if (!inTime) unhealthy(plan, ChildReport::Health::timed_out, 0);
  if (ended.si_code != CLD_EXITED) unhealthy(plan, ChildReport::Health::signaled, ended.si_status);
  if (ended.si_status != 0) unhealthy(plan, ChildReport::Health::exited, ended.si_status);
}

}  // namespace fallbackd::launcher
