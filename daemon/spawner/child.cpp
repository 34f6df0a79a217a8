// SPDX-License-Identifier: Apache-2.0
#include "spawner/child.hpp"

#include "spawner/descriptors.hpp"
#include "spawner/health.hpp"
#include "spawner/identity.hpp"
#include "spawner/namespaces.hpp"
#include "spawner/root.hpp"
#include "spawner/tell.hpp"
#include "sys/message_socket.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

/// If the spawner died before this process is in the leaf, no daemon would find the process. If the spawner
/// died before this call, sending the report fails.
void dieWithSpawner(ChildPlan& plan) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) giveUp(plan, Step::watch_spawner);
  ChildReport born;
  born.kind = ChildReport::Kind::born;
  report(plan, born);
}

/// By now the leaf identifies it. The kernel clears the setting when the user changes, but not for root.
void outliveSpawner(ChildPlan& plan) {
  if (::prctl(PR_SET_PDEATHSIG, 0) != 0) giveUp(plan, Step::watch_spawner);
}

bool joinByWriting(int file) {
  return ::write(file, "0", 1) == 1;
}

/// First of all, so that a daemon that empties the leaf finds this process.
void joinUnifiedCgroup(ChildPlan& plan) {
  if (plan.order.unifiedCgroup && !plan.inUnifiedCgroup && !joinByWriting(plan.fds.cgroupProcs.get())) {
    giveUp(plan, Step::join_cgroup);
  }
}

/// Waits for what the daemon prepares meanwhile. EOF means the launch was abandoned (the daemon closed its
/// end or died): exit silently, the spawner sees the end of this process.
void takeEntry(ChildPlan& plan) {
  const int count = sys::receiveDescriptors(plan.orders, kEntry, plan.entry);
  if (count < 0 && errno == ECONNRESET) ::_exit(1);
  if (count >= 0 && count < static_cast<int>(kEntryTasks)) errno = EPROTO;
  if (count < static_cast<int>(kEntryTasks)) giveUp(plan, Step::take_entry);
  plan.entries = static_cast<std::size_t>(count);
}

/// Before any foreign code runs in this process.
void joinLegacyCgroups(ChildPlan& plan) {
  // Writing "0" to "tasks" moves the calling thread, which is our only one. Any other way (a pid,
  // cgroup.procs) makes the kernel wait for an RCU grace period: 10 to 20 ms were measured, against 20 us.
  for (std::size_t i = kEntryTasks; i < plan.entries; ++i) {
    if (!joinByWriting(plan.entry[i])) giveUp(plan, Step::join_cgroup);
  }
  if (::unshare(CLONE_NEWCGROUP) != 0) giveUp(plan, Step::cgroup_namespace);
}

/// A volume may cover /dev/null, and root opens it: anything else must not reach the program.
int openNull(int flags) {
  const int null = ::open("/dev/null", flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat found {};
  if (null < 0 || ::fstat(null, &found) != 0) return -1;
  if (!S_ISCHR(found.st_mode) || found.st_rdev != makedev(1, 3)) {
    errno = ENODEV;
    return -1;
  }
  // O_NONBLOCK is only for opening: a pipe in its place must not hold up the launch.
  return ::fcntl(null, F_SETFL, 0) == 0 ? null : -1;
}

/// Descriptors 0, 1 and 2 for the program, 3 and 4 until execveat, 5 for a moment, no others. A process that
/// only runs a health check has no log: its output goes to the /dev/null of its own root, never to the
/// node's.
void arrangeFds(ChildPlan& plan) {
  const bool silent = plan.order.argv.empty();
  const int null = openNull(silent ? O_RDWR : O_RDONLY);
  const int out = silent ? null : plan.entry[kEntryOut];
  const int err = silent ? null : plan.entry[kEntryErr];
  if (null < 0 || ::dup2(null, STDIN_FILENO) < 0 || ::dup2(out, STDOUT_FILENO) < 0 ||
      ::dup2(err, STDERR_FILENO) < 0) {
    giveUp(plan, Step::stdio);
  }
  // Via numbers above all targets, because any of them may occupy another's target.
  const int executable = ::fcntl(plan.fds.executable.get(), F_DUPFD_CLOEXEC, kFirstToClose);
  const int reports = ::fcntl(plan.reports, F_DUPFD_CLOEXEC, kFirstToClose);
  const int sandbox = ::fcntl(plan.fds.sandbox.get(), F_DUPFD_CLOEXEC, kFirstToClose);
  if (executable < 0 || reports < 0 || sandbox < 0) giveUp(plan, Step::close_fds);
  plan.reports = reports;  // its old number may be kExecutable's
  if (::dup3(executable, kExecutable, O_CLOEXEC) < 0 || ::dup3(reports, kReportSocket, O_CLOEXEC) < 0 ||
      ::dup3(sandbox, kSandbox, O_CLOEXEC) < 0) {
    giveUp(plan, Step::close_fds);
  }
  plan.reports = kReportSocket;
  if (::close_range(kFirstToClose, ~0U, 0) != 0) giveUp(plan, Step::close_fds);
}

/// An order without argv ends here.
void endIfNothingElse(const ChildPlan& plan) {
  if (!plan.order.argv.empty()) return;
  ChildReport verdict;
  verdict.kind = ChildReport::Kind::healthy;
  report(plan, verdict);
  ::_exit(0);
}

/// The spawner traces this process from here to the end of execveat; see transfer.hpp.
void awaitTracer(ChildPlan& plan) {
  char go = 0;
  ssize_t got = -1;
  do {
    got = ::read(kReportSocket, &go, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) giveUp(plan, Step::await_tracer);
}

}  // namespace

void runChild(ChildPlan& plan) {
  dieWithSpawner(plan);
  joinUnifiedCgroup(plan);
  buildRoot(plan);
  takeEntry(plan);
  joinLegacyCgroups(plan);
  arrangeFds(plan);
  leaveDaemon(plan);
  const bool checks = !plan.order.healthArgv.empty();
  ChildReport last;
  last.kind = ChildReport::Kind::executing;
  last.entersPids = plan.order.pids == PidNamespace::sandbox;
  if (checks && plan.healthApart()) {
    last.preparedNs = monotonicNs();
    checkHealthApart(plan);
    endIfNothingElse(plan);
  }
  joinSandbox(plan);
  becomeUser(plan);
  outliveSpawner(plan);
  if (last.preparedNs == 0) last.preparedNs = monotonicNs();
  // Loading the filter costs the kernel more than creating a process: share one if possible.
  if (plan.order.filterLetsWait) loadFilter(plan);
  if (checks && !plan.healthApart()) checkHealth(plan);
  endIfNothingElse(plan);
  last.healthCheckedNs = monotonicNs();
  // Before the filter, which may deny the reporting call; a later failure is reported all the same.
  report(plan, last);
  if (last.entersPids) awaitTracer(plan);
  if (!plan.order.filterLetsWait) loadFilter(plan);
  ::syscall(SYS_execveat, kExecutable, "", plan.argv.data(), plan.env.data(), AT_EMPTY_PATH);
  giveUp(plan, Step::exec);
}

}  // namespace fallbackd::launcher
