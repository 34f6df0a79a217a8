#include "launcher/spawner/spawner.hpp"

#include "launcher/spawner/own_root.hpp"
#include "launcher/spawner/spare.hpp"
#include "launcher/spawner/steps.hpp"
#include "launcher/spawner/tell.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/sched.h>
#include <optional>
#include <span>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

// What epoll gives back; every other value is the id of a launch whose pipe is meant. Ids count from 1.
constexpr std::uint64_t kSocketEvent = ~0ULL;
constexpr std::uint64_t kSignalEvent = 0;
constexpr int kQuietMs = 20;            // without an event for so long, there is time to make a spare
constexpr rlim_t kMostFiles = 1 << 20;  // what runtimes give; more makes programs that close all of them slow

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

Error failureOf(const ChildReport& report) {
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
  const std::string_view object(report.object, ::strnlen(report.object, sizeof report.object));
  if (!object.empty()) text.append(" ").append(object);
  const bool joining = report.step == Step::join_sandbox || report.step == Step::join_pids;
  const bool gone = joining && report.errnum == ESRCH;
  const bool unsafe =
      report.step == Step::volume_target && (report.errnum == ELOOP || report.errnum == EXDEV);
  const Reason reason = gone ? Reason::sandbox_gone : unsafe ? Reason::unsafe_path : Reason::system;
  return {step.stage, reason, report.errnum, std::move(text)};
}

}  // namespace

struct Spawner::Launch {
  explicit Launch(std::uint64_t given) : id(given) { started.id = id; }

  std::uint64_t id;
  pid_t spare = 0;  // see spare.hpp; 0 when it ended
  sys::UniqueFd reports;
  pid_t pid = 0;  // the child's, from its birth on
  sys::PidFd process;
  StartedReport started;
  bool aborted = false;
  bool executing = false;  // the child was about to call execveat
  bool running = false;    // and the daemon was told so
  std::optional<Error> failure;
};

Spawner::Spawner(sys::UniqueFd socket) : socket_(std::move(socket)) {}
Spawner::~Spawner() = default;

Result<> Spawner::setUp() {
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
    const int count = ::epoll_wait(events_.get(), ready.data(), static_cast<int>(ready.size()),
                                   wantsSpare_ || !spent_.empty() ? kQuietMs : -1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failErrno(Stage::spawner, "wait for events");
    if (count == 0) prepare();
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
            readReports(*launch);
            if (!launch->running) end(*launch);
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
  FB_TRY(const auto order, decodeOrder(message.bytes));
  if (const auto* abortOrder = std::get_if<AbortOrder>(&order)) {
    abort(abortOrder->id);
  } else if (const auto made = makeSpare(); !made) {
    sendFailure(0, made.error());
  }
  return {};
}

Result<> Spawner::makeSpare() {
  wantsSpare_ = false;
  FB_TRY(auto orders, sys::makeMessageSockets());
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failErrno(Stage::spawner, "make a pipe");
  auto launch = std::make_unique<Launch>(++lastId_);
  launch->reports = sys::UniqueFd(ends[0]);
  const sys::UniqueFd writeEnd(ends[1]);
  // Only the reader must not wait: the reports of a launch are far smaller than the pipe.
  ::fcntl(launch->reports.get(), F_SETFL, O_NONBLOCK);
  epoll_event event{EPOLLIN, {.u64 = launch->id}};
  if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, launch->reports.get(), &event) != 0) {
    return failErrno(Stage::spawner, "watch a pipe");
  }
  clone_args arguments{};
  arguments.flags = CLONE_NEWNS | CLONE_CLEAR_SIGHAND;
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return failErrno(Stage::spawner, "clone");
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    runSpare(orders[1].get(), writeEnd.get(), limits_);
  }
  launch->spare = static_cast<pid_t>(pid);
  send(SpareReport{launch->id}, &orders[0]);
  launches_.emplace(launch->id, std::move(launch));
  return {};
}

/// What would have been in the way of a launch.
void Spawner::prepare() {
  for (const pid_t pid : spent_) static_cast<void>(::kill(pid, SIGKILL));
  const bool unused = std::any_of(launches_.begin(), launches_.end(), [](const auto& one) {
    return one.second->spare != 0 && one.second->pid == 0 && !one.second->aborted;
  });
  // Where it fails, the next launch asks for one and is told why.
  if (wantsSpare_ && !unused) static_cast<void>(makeSpare());
  wantsSpare_ = false;
}

/// By the number of a process that is not reaped yet, and so is still its own. One that is not born when its
/// spare is killed cannot be; one that is and could not say so yet ends when it does.
void Spawner::end(Launch& launch) {
  launch.aborted = true;
  const pid_t target = launch.pid != 0 ? launch.pid : launch.spare;
  if (target > 0) static_cast<void>(::kill(target, SIGKILL));
}

void Spawner::abort(std::uint64_t id) {
  wantsSpare_ = true;  // it had one, though that may not be told yet
  const auto found = launches_.find(id);
  if (found != launches_.end()) end(*found->second);
}

void Spawner::readReports(Launch& launch) {
  auto& reports = launch.reports;
  if (!reports) return;
  for (;;) {
    ChildReport report;
    const ssize_t got = ::read(reports.get(), &report, sizeof report);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;  // nothing more for now
    if (got == 0) {
      reports.reset();  // takes it out of epoll, too
      executed(launch);
      return;
    }
    switch (report.kind) {
      case ChildReport::Kind::born:
        wantsSpare_ = true;
        launch.pid = launch.started.pid = report.value;
        launch.process = sys::PidFd(static_cast<int>(::syscall(SYS_pidfd_open, launch.pid, 0)));
        if (launch.aborted) end(launch);
        break;
      case ChildReport::Kind::executing:
        launch.started.preparedNs = report.preparedNs;
        launch.started.healthCheckedNs = report.healthCheckedNs;
        launch.executing = true;
        break;
      default:
        // The first one is the cause, what follows its consequence.
        if (!launch.failure) launch.failure = failureOf(report);
    }
  }
}

/// The pipe is closed by execveat, and by the end of the process; right after "executing" it is the former.
void Spawner::executed(Launch& launch) {
  if (!launch.executing || launch.running || launch.failure) return;
  launch.started.startedNs = monotonicNs();
  launch.running = true;
  send(launch.started, &launch.process);
  launch.process.reset();  // the daemon's own from here on
  if (launch.spare != 0) spent_.insert(std::exchange(launch.spare, 0));
}

void Spawner::reap() {
  signalfd_siginfo ignored{};
  while (::read(signals_.get(), &ignored, sizeof ignored) > 0) {
  }
  for (;;) {
    siginfo_t ended{};
    if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
    buried(ended);
    ::waitid(P_PID, static_cast<id_t>(ended.si_pid), &ended, WEXITED | WNOHANG);
  }
}

void Spawner::buried(const siginfo_t& ended) {
  spent_.erase(ended.si_pid);
  const auto found = std::find_if(launches_.begin(), launches_.end(), [&](const auto& one) {
    return one.second->pid == ended.si_pid || one.second->spare == ended.si_pid;
  });
  if (found == launches_.end()) return;
  auto& launch = *found->second;
  readReports(launch);
  if (launch.spare == ended.si_pid) {
    launch.spare = 0;
    if (launch.pid != 0) return;  // what came of it is what counts
  } else {
    executed(launch);  // it may be over before its spare has closed the pipe, too
  }
  if (launch.running) {
    send(ExitedReport{launch.id, ended.si_code != CLD_EXITED, ended.si_status});
  } else if (launch.failure) {
    sendFailure(launch.id, *launch.failure);
  } else {
    sendFailure(launch.id, {Stage::exec, Reason::killed, 0,
                            "ended before the binary was executed, by signal or exit " +
                                std::to_string(ended.si_status)});
  }
  if (launch.spare != 0) static_cast<void>(::kill(launch.spare, SIGKILL));
  launches_.erase(found);
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
