// SPDX-License-Identifier: Apache-2.0
#include "workers/worker.hpp"

#include "sys/helper_program.hpp"
#include "sys/message_socket.hpp"
#include "sys/process.hpp"

#include <csignal>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::workers {

namespace asio = boost::asio;

namespace {

constexpr int kEndLimitMs = 1000;
constexpr const char* kWorkerName = "fallbackd-worker";

asio::awaitable<void> readable(Watched& watched) {
  boost::system::error_code ignored;
  co_await watched.async_wait(Watched::wait_read, asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

std::string defaultWorkerProgram() {
  return sys::programBesideOurs(kWorkerName);
}

Result<std::shared_ptr<Worker>> Worker::start(const asio::any_io_executor& executor,
                                              const std::string& program) {
  FB_TRY(auto ends, sys::makeMessageSockets());
  FB_TRY(auto answers, watchCopy(executor, Stage::run, ends[0].get()));
  FB_TRY(auto helper, sys::startHelper(Stage::run, program, kWorkerName, ends[1]));
  auto end = watchCopy(executor, Stage::run, helper.process.get());
  if (!end) {
    static_cast<void>(sys::sendSignal(Stage::run, helper.process, SIGKILL));
    siginfo_t ignored{};
    ::waitid(P_PIDFD, static_cast<id_t>(helper.process.get()), &ignored, WEXITED);
    return tl::unexpected<Error>(end.error());
  }
  return std::shared_ptr<Worker>(new Worker(helper.pid, std::move(helper.process), std::move(ends[0]),
                                            std::move(answers), std::move(*end)));
}

Worker::Worker(pid_t pid, sys::PidFd process, sys::UniqueFd socket, Watched answers, Watched end)
    : pid_(pid),
      process_(std::move(process)),
      socket_(std::move(socket)),
      answers_(std::move(answers)),
      end_(std::move(end)) {}

void Worker::end() {
  if (buried_) return;
  kill();
  pollfd polled{process_.get(), POLLIN, 0};
  if (::poll(&polled, 1, givenUp_ ? 0 : kEndLimitMs) > 0) bury();
}

asio::awaitable<void> Worker::answered() {
  co_await readable(answers_);
}

void Worker::dismiss() {
  // Closing is not enough: Asio holds a copy of the number.
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void Worker::giveUp() {
  givenUp_ = true;
  kill();
}

void Worker::kill() {
  static_cast<void>(sys::sendSignal(Stage::run, process_, SIGKILL));
  dismiss();
}

asio::awaitable<void> Worker::ended() {
  co_await readable(end_);
  if (!buried_) bury();
}

void Worker::bury() {
  siginfo_t ended{};
  const int asked = ::waitid(P_PIDFD, static_cast<id_t>(process_.get()), &ended, WEXITED | WNOHANG);
  buried_ = asked == 0 && ended.si_pid != 0;  // 0: it still runs
}

}  // namespace fallbackd::workers
