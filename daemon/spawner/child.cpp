// SPDX-License-Identifier: Apache-2.0
#include "spawner/child.hpp"

#include "spawner/descriptors.hpp"
#include "spawner/tell.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <set>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// Adds the folders on the way to `path` ("/a/b/c" gives "a", "a/b").
void addParents(std::set<std::string>& folders, const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    folders.insert(path.substr(1, slash - 1));
  }
}

/// If the spawner died before this process is in the leaf, nobody would know about the process. The kernel
/// clears the setting when the user changes; by then the leaf identifies it. If the spawner died before this
/// call, sending the report fails.
void dieWithSpawner(ChildPlan& plan) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) giveUp(plan, Step::watch_spawner);
  ChildReport born;
  born.kind = ChildReport::Kind::born;
  report(plan, born);
}

bool joinByWriting(int file) {
  return ::write(file, "0", 1) == 1;
}

/// First of all, so that whoever empties the leaf finds this process.
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

/// Descriptors 0, 1 and 2 for the program, 3 and 4 until execveat, 5 for a moment, no others.
void arrangeFds(ChildPlan& plan) {
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0 || ::dup2(null, STDIN_FILENO) < 0 || ::dup2(plan.entry[kEntryOut], STDOUT_FILENO) < 0 ||
      ::dup2(plan.entry[kEntryErr], STDERR_FILENO) < 0) {
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

ChildPlan::ChildPlan(LaunchOrder givenOrder, LaunchFds givenFds, const std::vector<ProcessLimit>& givenLimits)
    : order(std::move(givenOrder)),
      fds(std::move(givenFds)),
      program(order.seccomp.size() / sizeof(sock_filter)),
      limits(givenLimits),
      tmpOptions("mode=1777,size=" + std::to_string(order.tmpBytes)),
      oomScoreAdj(std::to_string(order.oomScoreAdj)),
      argv(pointers(order.argv)),
      healthArgv(pointers(order.healthArgv)),
      env(pointers(order.env)) {
  if (!program.empty()) {
    std::memcpy(program.data(), order.seccomp.data(), program.size() * sizeof(sock_filter));
  }
  filter = {static_cast<unsigned short>(program.size()), program.data()};
  // Replaced instead of applied one after the other: a limit that was lowered could not be raised again.
  std::erase_if(limits, [this](const ProcessLimit& usual) {
    return std::any_of(order.limits.begin(), order.limits.end(),
                       [&](const ProcessLimit& own) { return own.resource == usual.resource; });
  });
  limits.insert(limits.end(), order.limits.begin(), order.limits.end());
  std::set<std::string> wanted;
  for (const auto& file : order.files) addParents(wanted, file.path);
  for (const auto& mount : order.mounts) {
    addParents(wanted, mount.path);
    if (mount.directory) wanted.insert(mount.path.substr(1));
  }
  addParents(wanted, order.workingDir);
  if (order.workingDir != "/") wanted.insert(order.workingDir.substr(1));
  for (const char* present : kFolders) wanted.erase(present);
  folders.assign(wanted.begin(), wanted.end());  // sorted: parents come before their children
}

std::string_view ChildPlan::objectOf(Step step, int index) const {
  const auto pick = [index](const auto& list) -> std::string_view {
    const auto at = static_cast<std::size_t>(index);
    return index >= 0 && at < list.size() ? std::string_view(list[at]) : std::string_view();
  };
  const auto pickPath = [index](const auto& list) -> std::string_view {
    const auto at = static_cast<std::size_t>(index);
    return index >= 0 && at < list.size() ? std::string_view(list[at].path) : std::string_view();
  };
  switch (step) {
    case Step::root_folder:
      return pick(folders);
    case Step::root_file:
      return pickPath(order.files);
    case Step::proc_mask:
      return pick(kMasked);
    case Step::proc_read_only:
      return pick(kReadOnly);
    case Step::volume_target:
    case Step::volume_mount:
      return pickPath(order.mounts);
    case Step::attribute: {
      const auto at = static_cast<std::size_t>(index);
      return at < order.attributes.size() ? std::string_view(order.attributes[at].file) : std::string_view();
    }
    case Step::working_dir:
      return order.workingDir;
    default:
      return {};
  }
}

void report(const ChildPlan& plan, const ChildReport& report) {
  tell(plan.reports, report);
}

void giveUp(ChildPlan& plan, Step step, int object) {
  if (!plan.inHealthCheck) giveUp(plan.reports, step, plan.objectOf(step, object));
  plan.healthFailure = failureNow(step, plan.objectOf(step, object));
  plan.healthFailed = true;
  ::_exit(1);
}

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

bool ChildPlan::healthApart() const {
  return order.pids != PidNamespace::own || (order.capabilities >> CAP_SYS_PTRACE & 1U) != 0;
}

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
  }
  joinSandbox(plan);
  becomeUser(plan);
  if (last.preparedNs == 0) last.preparedNs = monotonicNs();
  // Loading the filter costs the kernel more than creating a process: share one if possible.
  if (plan.order.filterLetsWait) loadFilter(plan);
  if (checks && !plan.healthApart()) checkHealth(plan);
  last.healthCheckedNs = monotonicNs();
  // Before the filter, which may deny the reporting call; a later failure is reported all the same.
  report(plan, last);
  if (last.entersPids) awaitTracer(plan);
  if (!plan.order.filterLetsWait) loadFilter(plan);
  ::syscall(SYS_execveat, kExecutable, "", plan.argv.data(), plan.env.data(), AT_EMPTY_PATH);
  giveUp(plan, Step::exec);
}

}  // namespace fallbackd::launcher
