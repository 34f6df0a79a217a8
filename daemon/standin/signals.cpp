// SPDX-License-Identifier: Apache-2.0
#include "standin/signals.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/async/within.hpp"
#include "standin/program/protocol.hpp"
#include "sys/process.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::standin {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kProgramLimit = 1s;
constexpr Backoff::Limits kLooks{1ms, 50ms};

Result<sys::UniqueFd> takePipe(pid_t pid, const sys::PidFd& process) {
  FB_TRY(const auto name, sys::commOf(Stage::run, pid));
  if (name != kProgramComm) {
    return fail(Stage::run, Reason::not_found, "process " + std::to_string(pid) + " executes " + name);
  }
  FB_TRY(auto pipe, sys::descriptorOf(Stage::run, process, kSignalsFd));
  // Not fstat(2): what the pod has put there instead may be a file of a server that does not answer.
  std::error_code error;
  const auto what = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(pipe.get()), error);
  if (error || !what.native().starts_with("pipe:[")) {
    return fail(Stage::run, Reason::not_found, "a stand-in's descriptor is not a pipe");
  }
  return pipe;
}

}  // namespace

Signals::Signals(sys::PidFd process, Watched pipe, sys::Pipe own)
    : process_(std::move(process)), pipe_(std::make_unique<Watched>(std::move(pipe))), own_(std::move(own)) {}

asio::awaitable<Result<Signals>> Signals::of(pid_t pid) {
  const auto executor = co_await asio::this_coro::executor;
  const auto& clock = LoopClock::of(executor);
  const auto deadline = clock.now() + kProgramLimit;
  FB_CO_TRY(auto process, sys::openPidFd(Stage::run, pid));
  Backoff pause(kLooks);
  for (;;) {
    auto pipe = takePipe(pid, process);
    if (pipe) {
      FB_CO_TRY(auto watched, watch(executor, Stage::run, pipe->release()));
      FB_CO_TRY(auto own, sys::makePipe(Stage::run));
      co_return Signals(std::move(process), std::move(watched), std::move(own));
    }
    // Until it has executed the program and made its pipe.
    if (pipe.error().reason != Reason::not_found || clock.now() > deadline) {
      co_return tl::unexpected<Error>(pipe.error());
    }
    co_await pause.wait();
  }
}

/// Uses splice(2), since read(2) waits if O_NONBLOCK is not set. That flag belongs to the description, which
/// a process of the pod shares with us and may change at any time.
asio::awaitable<int> Signals::next() {
  for (;;) {
    const auto moved =
        ::splice(pipe_->native_handle(), nullptr, own_.write.get(), nullptr, 1, SPLICE_F_NONBLOCK);
    if (moved == 1) {
      unsigned char number = 0;
      co_return ::read(own_.read.get(), &number, 1) == 1 ? number : 0;
    }
    if (moved == 0 || (errno != EAGAIN && errno != EINTR)) co_return 0;
    const auto [error] = co_await pipe_->async_wait(Watched::wait_read, asio::as_tuple(asio::use_awaitable));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) co_return 0;
  }
}

asio::awaitable<bool> Signals::ended(std::chrono::nanoseconds limit) {
  const auto untilEnd = [](Signals& self) -> asio::awaitable<void> {
    for (;;) {
      const int number = co_await self.next();
      if (number == 0) co_return;
    }
  };
  co_return co_await within(limit, untilEnd(*this));
}

Result<> Signals::end(int code) {
  return sys::queueSignal(Stage::run, process_, kEndSignal, code);
}

}  // namespace fallbackd::standin
