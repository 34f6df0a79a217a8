#include "launcher/spawner/spawner.hpp"

#include "launcher/spawner/own_root.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <linux/sched.h>
#include <optional>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

// What epoll gives back; every other value is the id of a launch whose pipe is meant. Ids count from 1.
constexpr std::uint64_t kSocketEvent = ~0ULL;
constexpr std::uint64_t kSignalEvent = 0;
constexpr rlim_t kMostFiles = 1 << 20;  // what runtimes give; more makes programs that close all of them slow

std::int64_t monotonicNow() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

/// What was ignored when the daemon was started stays so through every clone and exec, unless set back. By
/// the bare call: the C library keeps two signals for itself and touches neither.
void resetSignals() {
  constexpr std::size_t kKernelSetBytes = 8;
  const std::array<unsigned char, 64> defaultAction{};  // the kernel's struct, all zero: SIG_DFL
  for (int number = 1; number <= 64; ++number) {
    static_cast<void>(::syscall(SYS_rt_sigaction, number, defaultAction.data(), nullptr, kKernelSetBytes));
  }
}

/// No core files, and not what somebody raised for the daemon: hard limits as they are, soft ones as usual.
std::vector<ProcessLimit> containerLimits() {
  std::vector<ProcessLimit> limits{{RLIMIT_CORE, 0, 0}};
  rlimit now{};
  if (::getrlimit(RLIMIT_NOFILE, &now) == 0) {
    const rlim_t most = std::min(now.rlim_max, kMostFiles);
    limits.push_back({RLIMIT_NOFILE, most, most});
  }
  if (::getrlimit(RLIMIT_STACK, &now) == 0) {
    limits.push_back({RLIMIT_STACK, std::min<rlim_t>(now.rlim_max, 8 << 20), now.rlim_max});
  }
  return limits;
}

Error failureOf(const ChildPlan& plan, const ChildReport& report) {
  const auto& step = kSteps[static_cast<std::size_t>(report.step)];
  if (report.kind == ChildReport::Kind::unhealthy) {
    switch (report.health) {
      case ChildReport::Health::timed_out:
        return {Stage::health_check, Reason::timeout, 0, "not over in time; killed"};
      case ChildReport::Health::signaled:
        return {Stage::health_check, Reason::unhealthy, 0, "ended by signal " + std::to_string(report.value)};
      default:
        return {Stage::health_check, Reason::unhealthy, 0, "exit code " + std::to_string(report.value)};
    }
  }
  std::string text(step.text);
  if (const auto object = plan.objectOf(report.step, report.object); !object.empty()) {
    text.append(" ").append(object);
  }
  const bool gone = report.step == Step::join_sandbox && report.errnum == ESRCH;
  const bool unsafe =
      report.step == Step::volume_target && (report.errnum == ELOOP || report.errnum == EXDEV);
  const Reason reason = gone ? Reason::sandbox_gone : unsafe ? Reason::unsafe_path : Reason::system;
  return {step.stage, reason, report.errnum, std::move(text)};
}

}  // namespace

struct Spawner::Launch {
  Launch(LaunchOrder order, LaunchFds fds, const std::vector<ProcessLimit>& limits)
      : plan(std::make_unique<ChildPlan>(std::move(order), std::move(fds), limits)), id(plan->order.id) {}

  std::unique_ptr<ChildPlan> plan;  // dropped when the binary runs
  std::uint64_t id;
  pid_t pid = 0;
  sys::PidFd process;
  sys::UniqueFd reports;
  StartedReport started;
  bool executing = false;  // the child was about to call execveat
  bool running = false;    // and the daemon was told so
  std::optional<Error> failure;
};

Spawner::Spawner(sys::UniqueFd socket) : socket_(std::move(socket)) {}
Spawner::~Spawner() = default;

Result<> Spawner::setUp() {
  ownPids_ = sys::NamespaceFd(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!ownPids_) return failErrno(Stage::spawner, "open the own PID namespace");
  FB_CHECK(enterOwnRoot());
  limits_ = containerLimits();
  resetSignals();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return failErrno(Stage::spawner, "block SIGCHLD", error);
  }
  signals_ = sys::UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  events_ = sys::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!signals_ || !events_) return failErrno(Stage::spawner, "set up the event loop");
  for (const auto& [fd, key] :
       {std::pair{signals_.get(), kSignalEvent}, std::pair{socket_.get(), kSocketEvent}}) {
    epoll_event event{EPOLLIN, {.u64 = key}};
    if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return failErrno(Stage::spawner, "epoll");
  }
  send(ReadyReport{});
  return {};
}

Result<> Spawner::run() {
  for (;;) {
    std::array<epoll_event, 64> ready{};
    const int count = ::epoll_wait(events_.get(), ready.data(), static_cast<int>(ready.size()), -1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failErrno(Stage::spawner, "wait for events");
    bool signaled = false;
    for (int i = 0; i < count; ++i) {
      const std::uint64_t key = ready.at(static_cast<std::size_t>(i)).data.u64;
      if (key == kSignalEvent) {
        signaled = true;
      } else if (key == kSocketEvent) {
        bool daemonGone = false;
        FB_CHECK(takeOrder(daemonGone));
        if (daemonGone) {
          for (const auto& [id, launch] : launches_) {
            if (!launch->running) static_cast<void>(::kill(launch->pid, SIGKILL));
          }
          return {};
        }
      } else if (const auto found = launches_.find(key); found != launches_.end()) {
        readReports(*found->second);
      }
    }
    // After the pipes: what a child had to say is known before its end is looked at.
    if (signaled) reap();
  }
}

Result<> Spawner::takeOrder(bool& daemonGone) {
  FB_TRY(auto message, sys::receiveMessage(socket_, false));
  if (message.bytes.empty()) {
    daemonGone = true;
    return {};
  }
  FB_TRY(auto order, decodeOrder(message.bytes));
  if (const auto* abortOrder = std::get_if<AbortOrder>(&order)) {
    abort(abortOrder->id);
    return {};
  }
  auto& launch = std::get<LaunchOrder>(order);
  auto fds = sortLaunchFds(launch, std::move(message.fds));
  if (!fds) {
    sendFailure(launch.id, fds.error());
  } else {
    begin(std::move(launch), std::move(*fds));
  }
  return {};
}

void Spawner::begin(LaunchOrder order, LaunchFds fds) {
  const std::uint64_t id = order.id;
  auto launch = std::make_unique<Launch>(std::move(order), std::move(fds), limits_);
  if (const auto started = start(*launch); !started) {
    sendFailure(id, started.error());
    return;
  }
  launches_.emplace(id, std::move(launch));
}

Result<> Spawner::start(Launch& launch) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failErrno(Stage::spawner, "make a pipe");
  launch.reports = sys::UniqueFd(ends[0]);
  const sys::UniqueFd writeEnd(ends[1]);
  // Only the reader must not wait: the child's reports are far smaller than the pipe.
  ::fcntl(launch.reports.get(), F_SETFL, O_NONBLOCK);
  auto& plan = *launch.plan;
  plan.spawnerSocket = socket_.get();
  plan.reportRead = launch.reports.get();
  plan.reportWrite = writeEnd.get();
  // Watched before there is a child: what fails here needs no undoing.
  epoll_event event{EPOLLIN, {.u64 = launch.id}};
  if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, launch.reports.get(), &event) != 0) {
    return failErrno(Stage::spawner, "watch a pipe");
  }

  int pidfd = -1;
  FB_TRY(const pid_t pid, cloneChild(plan, pidfd));
  launch.pid = pid;
  launch.process = sys::PidFd(pidfd);
  launch.started.id = launch.id;
  launch.started.pid = launch.pid;
  plan.fds = LaunchFds{};  // the child has its own
  return {};
}

Result<pid_t> Spawner::cloneChild(ChildPlan& plan, int& pidfd) {
  const bool sandboxPids = plan.order.sandboxPids;
  clone_args arguments{};
  arguments.flags = CLONE_NEWNS | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
  if (!sandboxPids) arguments.flags |= CLONE_NEWPID;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (plan.order.unifiedCgroup) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(plan.fds.cgroupFolder.get());
    plan.inUnifiedCgroup = true;
  }
  // A process cannot change its own PID namespace, only that of the children it is going to have.
  if (sandboxPids && ::setns(plan.fds.sandbox.get(), CLONE_NEWPID) != 0) {
    const bool gone = errno == ESRCH;
    return fail(Stage::join, gone ? Reason::sandbox_gone : Reason::system,
                "enter the sandbox's PID namespace", errno);
  }
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0 && plan.inUnifiedCgroup) {
    // Kernels before 5.7 do not know the flag; others refuse it for some layouts. Moving itself there is
    // left to the child, and tells why where that fails too.
    arguments.flags &= ~static_cast<std::uint64_t>(CLONE_INTO_CGROUP);
    arguments.cgroup = 0;
    plan.inUnifiedCgroup = false;
    pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  }
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    runChild(plan);
  }
  const int error = errno;
  // What follows must not be born there by accident: rather no spawner, and a new one.
  if (sandboxPids && ::setns(ownPids_.get(), CLONE_NEWPID) != 0) ::_exit(1);
  if (pid < 0) return failErrno(Stage::spawner, "clone", error);
  return static_cast<pid_t>(pid);
}

void Spawner::abort(std::uint64_t id) {
  const auto found = launches_.find(id);
  // Not reaped yet, or it would not be in the list: the number is still its own.
  if (found != launches_.end()) static_cast<void>(::kill(found->second->pid, SIGKILL));
}

void Spawner::readReports(Launch& launch) {
  if (!launch.reports) return;
  for (;;) {
    ChildReport report;
    const ssize_t got = ::read(launch.reports.get(), &report, sizeof report);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;  // nothing more for now
    if (got == 0) {
      launch.reports.reset();  // takes it out of epoll, too
      if (launch.executing && !launch.failure) executed(launch);
      return;
    }
    switch (report.kind) {
      case ChildReport::Kind::prepared:
        launch.started.preparedNs = report.stampNs;
        break;
      case ChildReport::Kind::health_checked:
        launch.started.healthCheckedNs = report.stampNs;
        break;
      case ChildReport::Kind::executing:
        launch.executing = true;
        break;
      default:
        // The first one is the cause, what follows its consequence.
        if (!launch.failure) launch.failure = failureOf(*launch.plan, report);
    }
  }
}

/// The pipe is closed by execveat, and by the end of the process; right after "executing" it is the former.
void Spawner::executed(Launch& launch) {
  launch.started.startedNs = monotonicNow();
  launch.running = true;
  send(launch.started, &launch.process);
  launch.process.reset();  // the daemon's own from here on
  launch.plan.reset();
}

void Spawner::reap() {
  signalfd_siginfo ignored{};
  while (::read(signals_.get(), &ignored, sizeof ignored) > 0) {
  }
  for (;;) {
    siginfo_t ended{};
    if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
    const auto found = std::find_if(launches_.begin(), launches_.end(),
                                    [&](const auto& one) { return one.second->pid == ended.si_pid; });
    if (found != launches_.end()) {
      auto& launch = *found->second;
      readReports(launch);
      if (launch.running) {
        send(ExitedReport{launch.id, ended.si_code != CLD_EXITED, ended.si_status});
      } else if (launch.failure) {
        sendFailure(launch.id, *launch.failure);
      } else {
        sendFailure(launch.id, {Stage::exec, Reason::killed, 0,
                                "ended before the binary was executed, by signal or exit " +
                                    std::to_string(ended.si_status)});
      }
      launches_.erase(found);
    }
    ::waitid(P_PID, static_cast<id_t>(ended.si_pid), &ended, WEXITED | WNOHANG);
  }
}

void Spawner::send(const Report& report, const sys::UniqueFd* fd) {
  const auto bytes = encode(report);
  if (!bytes) return;
  std::array<int, 1> number{fd != nullptr ? fd->get() : -1};
  const std::span<const int> fds(number.data(), fd != nullptr ? 1 : 0);
  // A daemon that is gone is noticed by the loop.
  static_cast<void>(sys::sendMessage(socket_, *bytes, fds, false));
}

void Spawner::sendFailure(std::uint64_t id, const Error& error) {
  send(FailedReport{id, error.stage, error.reason, error.errnum, error.context});
}

void Spawner::reportFailure(const Error& error) {
  sendFailure(0, error);
}

}  // namespace fallbackd::launcher
