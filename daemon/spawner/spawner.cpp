// SPDX-License-Identifier: Apache-2.0
#include "spawner/spawner.hpp"

#include "spawner/child_report.hpp"
#include "spawner/inherited.hpp"
#include "spawner/own_root.hpp"
#include "spawner/report_order.hpp"
#include "spawner/spare.hpp"
#include "spawner/tell.hpp"
#include "spawner/transfer.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/sched.h>
#include <optional>
#include <span>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

// epoll's user data; every other value is the id of a launch and means its pipe. Ids start at 1.
constexpr std::uint64_t kSocketEvent = ~0ULL;
constexpr std::uint64_t kSignalEvent = 0;
// Signals to a traced process are changes too, and its pod's neighbours can send any number of them.
constexpr int kChangesOfAPass = 64;
constexpr int kQuietMs = 20;  // after this long without an event there is time to make a spare
// No longer than this: a neighbour in a pod can go on stopping and continuing a fallback, and each is an
// event. They are not switched off (SA_NOCLDSTOP), since the stops of a process that is traced would go with
// them.
constexpr std::int64_t kOverdueNs = 200'000'000;

}  // namespace

struct Spawner::Launch {
  Launch(std::uint64_t given, pid_t made) : id(given), spare(made), order(made) { started.id = id; }

  std::uint64_t id;
  pid_t spare;  // see spare.hpp; 0 once it has ended
  sys::UniqueFd reports;
  ReportOrder order;
  pid_t pid = 0;  // the child's, once it is born
  sys::PidFd process;
  std::optional<Transfer> transfer;  // on its way into the sandbox's PID namespace
  StartedReport started;
  bool aborted = false;
  bool executing = false;  // the child was about to call execveat
  bool silent = false;     // no process holds the other end of its reports: it has executed or ended
  bool running = false;    // the binary is executing, and the daemon was told
  bool passed = false;     // its health check succeeded, and it is not to execute anything else
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
  bool signaled = false;
  std::int64_t overdue = 0;
  for (;;) {
    std::array<epoll_event, 64> ready{};
    const bool untidy = wantsSpare_ || !spent_.empty();
    if (!untidy || overdue == 0) overdue = monotonicNs() + kOverdueNs;
    const int patience = untidy ? kQuietMs : -1;
    const int count =
        ::epoll_wait(events_.get(), ready.data(), static_cast<int>(ready.size()), signaled ? 0 : patience);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failErrno(Stage::spawner, "wait for events");
    if ((count == 0 && !signaled) || (untidy && monotonicNs() >= overdue)) {
      prepare();
      overdue = 0;
    }
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
    // After the pipes: a child's reports are read before its end is handled.
    if (signaled) signaled = reap() == Children::have_more;
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
  FB_TRY(auto reports, sys::makeMessageSockets());
  FB_CHECK(sys::wantSenders(reports[0]));
  const std::uint64_t id = ++lastId_;
  epoll_event event{EPOLLIN, {.u64 = id}};
  if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, reports[0].get(), &event) != 0) {
    return failErrno(Stage::spawner, "watch for reports");
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
    runSpare(orders[1].get(), reports[1].get(), limits_);
  }
  auto launch = std::make_unique<Launch>(id, static_cast<pid_t>(pid));
  launch->reports = std::move(reports[0]);
  send(SpareReport{id}, &orders[0]);
  launches_.emplace(id, std::move(launch));
  return {};
}

/// Work that would have delayed a launch.
void Spawner::prepare() {
  for (const pid_t pid : spent_) static_cast<void>(::kill(pid, SIGKILL));
  const bool unused = std::any_of(launches_.begin(), launches_.end(), [](const auto& one) {
    return one.second->spare != 0 && one.second->pid == 0 && !one.second->aborted;
  });
  // If this fails, the next launch asks for a spare and learns why.
  if (wantsSpare_ && !unused) static_cast<void>(makeSpare());
  wantsSpare_ = false;
}

/// Kills by pid, but only a process that has not been reaped, so the pid is still its own. If the child is
/// not born when its spare is killed it never will be; if it is born and has not reported yet, reporting
/// fails and it ends.
void Spawner::end(Launch& launch) {
  launch.aborted = true;
  const pid_t target = launch.pid != 0 ? launch.pid : launch.spare;
  if (target > 0) static_cast<void>(::kill(target, SIGKILL));
}

void Spawner::abort(std::uint64_t id) {
  wantsSpare_ = true;  // the spare was used, though that may not be reported yet
  const auto found = launches_.find(id);
  if (found != launches_.end()) end(*found->second);
}

void Spawner::readReports(Launch& launch) {
  while (launch.reports) {
    std::array<char, sizeof(ChildReport) + 1> bytes;  // one more byte, to detect a longer message
    const auto received = sys::receiveFrom(launch.reports, bytes);
    if (!received && received.error().reason == Reason::unavailable) return;
    // A message without content has a sender all the same.
    if (!received || (received->size == 0 && received->sender == 0)) {
      launch.reports.reset();  // closing removes it from epoll, too
      launch.silent = true;
      executed(launch);
      return;
    }
    const auto report = decodeChildReport({bytes.data(), std::min(received->size, bytes.size())});
    const bool due = report && launch.order.accept(received->sender, report->kind);
    if (!due || (report->kind == ChildReport::Kind::born && !mayBe(received->sender))) {
      giveUp(launch, {Stage::spawner, Reason::protocol, 0, "the launch sent an unexpected report"});
      continue;
    }
    take(launch, *report, received->sender);
  }
}

/// Whether a process can be the child of a launch: it is a child of this process and does not belong to
/// another launch. It has not been reaped, so its pid is its own.
bool Spawner::mayBe(pid_t sender) const {
  siginfo_t ignored{};
  return ::waitid(P_PID, static_cast<id_t>(sender), &ignored, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         !spent_.contains(sender) && std::none_of(launches_.begin(), launches_.end(), [&](const auto& one) {
           return one.second->pid == sender || one.second->spare == sender;
         });
}

void Spawner::take(Launch& launch, const ChildReport& report, pid_t sender) {
  switch (report.kind) {
    case ChildReport::Kind::born:
      wantsSpare_ = true;
      hold(launch, sender);
      if (launch.aborted) end(launch);
      break;
    case ChildReport::Kind::executing:
      launch.started.preparedNs = report.preparedNs;
      launch.started.healthCheckedNs = report.healthCheckedNs;
      launch.executing = true;
      if (report.entersPids) enterPids(launch);
      break;
    case ChildReport::Kind::healthy:
      launch.passed = true;
      break;
    default:
      launch.failure = failureOf(report);
  }
}

/// Without the descriptor the process could not be reported.
void Spawner::hold(Launch& launch, pid_t process) {
  launch.pid = launch.started.pid = process;
  launch.process = sys::PidFd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!launch.process) {
    giveUp(launch, {Stage::spawner, Reason::system, errno, "hold process " + std::to_string(process)});
  }
}

void Spawner::enterPids(Launch& launch) {
  auto transfer = Transfer::begin(launch.pid);
  if (!transfer) return giveUp(launch, std::move(transfer).error());
  launch.transfer = *transfer;
  const char go = 'g';
  // A process that is gone is noticed by its end.
  static_cast<void>(::send(launch.reports.get(), &go, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
}

void Spawner::stopped(const siginfo_t& stop) {
  const auto found = std::find_if(launches_.begin(), launches_.end(), [&](const auto& one) {
    return one.second->transfer && one.second->transfer->concerns(stop.si_pid);
  });
  if (found == launches_.end()) {
    // A running process that was stopped with a signal is not our concern.
    if (stop.si_code == CLD_TRAPPED) strays_.insert(stop.si_pid);
    return;
  }
  auto& launch = *found->second;
  const auto done = launch.transfer->stopped(stop.si_pid, stop.si_status, strays_);
  if (const pid_t inside = launch.transfer->inside(); inside != 0 && launch.pid != inside) {
    spent_.insert(launch.pid);
    hold(launch, inside);
  }
  // A killed process cannot be asked any more; its exit status shows the rest.
  if (!done && done.error().errnum != ESRCH) return giveUp(launch, done.error());
  executed(launch);
}

/// The first error is the cause; later ones are consequences.
void Spawner::giveUp(Launch& launch, Error error) {
  if (!launch.failure) launch.failure = std::move(error);
  end(launch);
}

/// The other end of the reports is closed by execveat and by the end of the process; right after "executing"
/// it is the former.
void Spawner::executed(Launch& launch) {
  if (!launch.executing || !launch.silent || launch.running || launch.failure) return;
  if (launch.transfer && !launch.transfer->done()) return;
  launch.started.startedNs = monotonicNs();
  launch.running = true;
  launch.transfer.reset();
  send(launch.started, &launch.process);
  launch.process.reset();  // from here on only the daemon holds it
  if (launch.spare != 0) spent_.insert(std::exchange(launch.spare, 0));
}

Spawner::Children Spawner::reap() {
  signalfd_siginfo ignored{};
  while (::read(signals_.get(), &ignored, sizeof ignored) > 0) {
  }
  for (int i = 0; i < kChangesOfAPass; ++i) {
    siginfo_t change{};
    if (::waitid(P_ALL, 0, &change, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0 || change.si_pid == 0)
      return Children::are_quiet;
    const auto pid = static_cast<id_t>(change.si_pid);
    if (change.si_code == CLD_STOPPED || change.si_code == CLD_TRAPPED) {
      // Waits for stops only: a process that was killed meanwhile is handled as one that ended.
      siginfo_t stop{};
      if (::waitid(P_PID, pid, &stop, WSTOPPED | WNOHANG) == 0 && stop.si_pid != 0) stopped(stop);
      continue;
    }
    buried(change);
    ::waitid(P_PID, pid, &change, WEXITED | WNOHANG);
  }
  return Children::have_more;
}

void Spawner::buried(const siginfo_t& ended) {
  spent_.erase(ended.si_pid);
  strays_.erase(ended.si_pid);
  const auto found = std::find_if(launches_.begin(), launches_.end(), [&](const auto& one) {
    return one.second->pid == ended.si_pid || one.second->spare == ended.si_pid;
  });
  if (found == launches_.end()) return;
  auto& launch = *found->second;
  readReports(launch);
  if (launch.spare == ended.si_pid) {
    launch.spare = 0;
    if (launch.pid != 0) return;  // how the child ends is what counts
  } else {
    // It may have ended before its spare closed its end, too.
    launch.silent = true;
    executed(launch);
  }
  if (launch.running) {
    send(ExitedReport{launch.id, ended.si_code != CLD_EXITED, ended.si_status});
  } else if (launch.failure) {
    sendFailure(launch.id, *launch.failure);
  } else if (launch.passed) {
    send(PassedReport{launch.id});
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
  // If the daemon is gone, the loop notices.
  static_cast<void>(sys::sendMessage(socket_, *bytes, fds, false));
}

void Spawner::sendFailure(std::uint64_t id, const Error& error) {
  send(FailedReport{id, error.stage, error.reason, error.errnum, error.context});
}

void Spawner::reportFailure(const Error& error) {
  sendFailure(0, error);
}

}  // namespace fallbackd::launcher
