// SPDX-License-Identifier: Apache-2.0
#include "launcher/local_process.hpp"

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/async/watched.hpp"
#include "launcher/cgroup/cgroup_leaf.hpp"
#include "sys/process.hpp"

#include <csignal>
#include <sys/wait.h>

#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kNoticeLimit = 1s;   // between the end of a process and the spawner's report of it
constexpr auto kReapLimit = 100ms;  // until init has reaped a process of an earlier daemon
// Replaces both limits on a very busy machine: the exit status may decide whether work is done twice, or not
// at all.
constexpr auto kLateLimit = 8s;
constexpr Backoff::Limits kReapPauses{1ms, 50ms};
constexpr auto kKillLimit = 10s;  // from SIGKILL to the end: longer only in uninterruptible sleep
constexpr auto kLogLimit = 1s;    // to copy what is left in the FIFOs

ExitStatus fromWaitStatus(int waitStatus) {
  ExitStatus status;
  if (WIFEXITED(waitStatus)) {
    status.kind = ExitStatus::Kind::exited;
    status.value = WEXITSTATUS(waitStatus);
  } else if (WIFSIGNALED(waitStatus)) {
    status.kind = ExitStatus::Kind::signaled;
    status.value = WTERMSIG(waitStatus);
  }
  return status;
}

}  // namespace

struct LocalProcess::Life {
  Life(const asio::any_io_executor& executor, sys::PidFd held, std::shared_ptr<ExitNotice> notice,
       std::vector<std::string> leaves)
      : process(std::move(held)),
        exit(std::move(notice)),
        cgroupLeaves(std::move(leaves)),
        // The leaf of a launch is new. What is read now may have been killed already.
        oomKillsBefore(exit != nullptr ? 0 : oomKillsIn(cgroupLeaves)),
        ended(executor),
        told(executor) {}

  asio::awaitable<ExitStatus> ask(Stamp spawnerUntil, Stamp kernelUntil);
  void conclude(ExitStatus found);

  sys::PidFd process;
  std::shared_ptr<ExitNotice> exit;
  std::vector<std::string> cgroupLeaves;
  unsigned long long oomKillsBefore;
  std::optional<ExitStatus> status;
  Event ended;  // there is a status, which may be unknown
  Event told;   // the status no longer changes
};

/// Kernels from 6.15 on keep the exit status of a reaped process for holders of a pidfd.
asio::awaitable<ExitStatus> LocalProcess::Life::ask(Stamp spawnerUntil, Stamp kernelUntil) {
  if (exit != nullptr) {
    co_await exit->known.waitUntil(spawnerUntil);
    if (exit->status) co_return *exit->status;
  }
  const auto& clock = LoopClock::of(ended.executor());
  Backoff pause(kReapPauses);
  for (;;) {
    const auto waitStatus = sys::waitStatusOf(Stage::run, process);
    if (waitStatus && *waitStatus) co_return fromWaitStatus(**waitStatus);
    if (!waitStatus || clock.now() >= kernelUntil) co_return ExitStatus{};
    co_await pause.wait();
  }
}

void LocalProcess::Life::conclude(ExitStatus found) {
  const bool killed = found.kind != ExitStatus::Kind::exited;
  found.oomKilled = killed && oomKillsIn(cgroupLeaves) > oomKillsBefore;
  status = found;
}

LocalProcess::LocalProcess(asio::any_io_executor executor, Grounds grounds, ProcessRecord record,
                           LaunchTimes times, sys::PidFd process, std::shared_ptr<ExitNotice> exit,
                           std::unique_ptr<LogPump> logs, std::vector<std::string> notes,
                           sys::NamespaceFd network)
    : executor_(executor),
      grounds_(std::move(grounds)),
      record_(std::move(record)),
      times_(times),
      life_(std::make_shared<Life>(executor, std::move(process), std::move(exit), record_.cgroupLeaves)),
      logs_(std::move(logs)),
      notes_(std::move(notes)),
      network_(network ? std::make_shared<const sys::NamespaceFd>(std::move(network)) : nullptr),
      tasks_(executor) {
  tasks_.spawn(watch(life_));
}

asio::awaitable<void> LocalProcess::watch(std::shared_ptr<Life> life) {
  auto watched = watchCopy(life->ended.executor(), Stage::run, life->process.get());
  for (Backoff pause; !watched;) {
    co_await pause.wait();
    watched = watchCopy(life->ended.executor(), Stage::run, life->process.get());
  }
  co_await watched->async_wait(Watched::wait_read, asio::use_awaitable);
  const auto& clock = LoopClock::of(life->ended.executor());
  const auto noticed = life->exit != nullptr ? clock.now() + kNoticeLimit : clock.now();
  const auto soon = co_await life->ask(noticed, noticed + kReapLimit);
  life->conclude(soon);
  life->ended.set();
  if (soon.kind == ExitStatus::Kind::unknown) {
    const auto deadline = clock.now() + kLateLimit;
    const auto late = co_await life->ask(deadline, deadline);
    if (late.kind != ExitStatus::Kind::unknown) life->conclude(late);
  }
  life->told.set();
}

asio::awaitable<ExitStatus> LocalProcess::exitedAndTold() {
  const auto life = life_;
  co_await life->told.wait();
  co_return *life->status;
}

asio::awaitable<ExitStatus> LocalProcess::exited() {
  const auto life = life_;
  co_await life->ended.wait();
  co_return *life->status;
}

/// The pidfd is held, so the pid is valid while the process runs, and what is read under it is true. A
/// process outside the leaf is not ours to end, whatever a record says; processes in the leaf are killed
/// through it.
void LocalProcess::signal(int number) const {
  const auto held = grounds_.cgroups->hold(record_.pid, record_.cgroupLeaves);
  if (!held || !*held) return;
  static_cast<void>(sys::sendSignal(Stage::run, life_->process, number));
}

asio::awaitable<ExitStatus> LocalProcess::stop(std::chrono::nanoseconds grace) {
  if (!life_->status && grace > 0ns) {
    // The process is pid 1 of its namespace: unless it handles SIGTERM, the signal has no effect and the
    // grace period runs out.
    signal(SIGTERM);
    co_await life_->ended.waitFor(grace);
  }
  if (!life_->status) {
    signal(SIGKILL);
    killLeaf(*grounds_.cgroups, record_.cgroupLeaves);
    co_await life_->ended.waitFor(kKillLimit);
  }
  // The kernel kills what outlives pid 1; removing the leaf is the second guard, and it must go in any case.
  const auto removed = co_await removeLeaf(grounds_.cgroups, record_.cgroupLeaves);
  static_cast<void>(removed);
  if (logs_ != nullptr) co_await logs_->drained(kLogLimit);
  logs_.reset();
  static_cast<void>(grounds_.fifos->remove(record_.recoveryId));
  co_return life_->status.value_or(ExitStatus{});
}

}  // namespace fallbackd::launcher
