// SPDX-License-Identifier: Apache-2.0
#include "standin/signals.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/async/within.hpp"
#include "standin/program/protocol.hpp"
#include "sys/process.hpp"

#include <array>
#include <string>
#include <sys/stat.h>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
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
  struct stat info {};
  if (::fstat(pipe.get(), &info) != 0 || !S_ISFIFO(info.st_mode)) {
    return fail(Stage::run, Reason::not_found, "a stand-in's descriptor is not a pipe");
  }
  return pipe;
}

}  // namespace

Signals::Signals(sys::PidFd process, Watched pipe)
    : process_(std::move(process)), pipe_(std::make_unique<Watched>(std::move(pipe))) {}

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
      co_return Signals(std::move(process), std::move(watched));
    }
    // Until it has executed the program and made its pipe.
    if (pipe.error().reason != Reason::not_found || clock.now() > deadline) {
      co_return tl::unexpected<Error>(pipe.error());
    }
    co_await pause.wait();
  }
}

asio::awaitable<int> Signals::next() {
  std::array<unsigned char, 1> number{};
  const auto [error, size] =
      co_await pipe_->async_read_some(asio::buffer(number), asio::as_tuple(asio::use_awaitable));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  co_return error || size == 0 ? 0 : number[0];
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
