// SPDX-License-Identifier: Apache-2.0
#include "launcher/spawner_process.hpp"

#include "spawner/protocol.hpp"
#include "sys/helper_program.hpp"
#include "sys/message_socket.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <utility>
#include <variant>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr const char* kSpawnerName = "fallbackd-spawner";
constexpr auto kSetUpLimit = 10s;
constexpr auto kEndLimit = 2s;
constexpr auto kFirstRestartPause = 1ms;
constexpr auto kLastRestartPause = 1s;
constexpr auto kHealthyAge = 5s;  // a spawner that lived at least this long is replaced at once

/// A signal to the daemon does not shorten the wait.
bool readableWithin(int fd, std::chrono::milliseconds limit) {
  const auto& clock = Clock::system();
  const auto deadline = clock.now() + limit;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.now());
    pollfd polled{fd, POLLIN, 0};
    const int ready = ::poll(&polled, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

}  // namespace

std::string defaultSpawnerProgram() {
  return sys::programBesideOurs(kSpawnerName);
}

SpawnerProcess::SpawnerProcess(asio::any_io_executor executor, std::string program)
    : executor_(executor),
      program_(std::move(program)),
      started_(std::move(executor)),
      pause_({kFirstRestartPause, kLastRestartPause}) {}

Result<> SpawnerProcess::start() {
  FB_TRY(auto ends, sys::makeMessageSockets());
  FB_TRY(auto helper, sys::startHelper(Stage::spawner, program_, kSpawnerName, ends[1]));
  pid_ = helper.pid;
  process_ = std::move(helper.process);
  socket_ = std::move(ends[0]);
  startedAt_ = LoopClock::of(executor_).now();
  return {};
}

Result<> SpawnerProcess::awaitReady() const {
  if (!readableWithin(socket_.get(), kSetUpLimit)) {
    return fail(Stage::spawner, Reason::timeout, program_ + " did not become ready");
  }
  FB_TRY(const auto message, sys::receiveMessage(socket_, true));
  if (message.bytes.empty()) return fail(Stage::spawner, Reason::spawner_gone, program_ + " ended at once");
  FB_TRY(const auto report, decodeReport(message.bytes));
  if (const auto* failed = std::get_if<FailedReport>(&report)) {
    return fail(failed->stage, failed->reason, "set up " + program_ + ": " + failed->text, failed->errnum);
  }
  return {};
}

/// Closing is not enough: Asio may hold a copy of the number for a pending wait.
void SpawnerProcess::closeSocket() {
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
}

/// The closed socket tells it to end; it is our child and must be reaped.
void SpawnerProcess::end() {
  closeSocket();
  if (!process_) return;
  if (!readableWithin(process_.get(), kEndLimit)) {
    static_cast<void>(sys::sendSignal(Stage::spawner, process_, SIGKILL));
  }
  siginfo_t ended{};
  while (::waitid(P_PIDFD, static_cast<id_t>(process_.get()), &ended, WEXITED) != 0 && errno == EINTR) {
  }
  process_.reset();
  pid_ = -1;
}

asio::awaitable<void> SpawnerProcess::restart() {
  // A start that failed does not count: its cause may last.
  const auto startedAt = std::exchange(startedAt_, std::nullopt);
  if (startedAt && LoopClock::of(executor_).now() - *startedAt > kHealthyAge) pause_.reset();
  co_await pause_.wait();
  if (!start()) co_return;
  ++restarts_;
  started_.notify();
}

asio::awaitable<void> SpawnerProcess::awaitStarted() {
  const auto deadline = later(LoopClock::of(executor_).now(), kRespawnLimit);
  while (!socket_) {
    const bool woken = co_await started_.waitUntil(deadline);
    if (!woken) co_return;
  }
}

}  // namespace fallbackd::launcher
