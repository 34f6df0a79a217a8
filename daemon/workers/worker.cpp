#include "workers/worker.hpp"

#include "sys/message_socket.hpp"
#include "sys/process.hpp"
#include "workers/serve.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <climits>

namespace fallbackd::workers {

namespace asio = boost::asio;

namespace {

constexpr int kEndLimitMs = 1000;

/// The parts of posix_spawn's arguments that have to be freed.
struct SpawnArguments {
  SpawnArguments() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  SpawnArguments(const SpawnArguments&) = delete;
  SpawnArguments& operator=(const SpawnArguments&) = delete;
  ~SpawnArguments() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

/// In a session of its own, with default signals and no environment.
Result<pid_t> spawnProgram(const std::string& program, const sys::UniqueFd& socket) {
  SpawnArguments arguments;
  ::posix_spawn_file_actions_addopen(&arguments.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&arguments.actions, socket.get(), kWorkerSocket);
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&arguments.attributes, &all);
  ::posix_spawnattr_setsigmask(&arguments.attributes, &none);
  ::posix_spawnattr_setflags(&arguments.attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  std::string name = "fallbackd-worker";
  std::array<char*, 2> argv{name.data(), nullptr};
  std::array<char*, 1> env{nullptr};
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, program.c_str(), &arguments.actions, &arguments.attributes,
                                 argv.data(), env.data());
  if (code != 0) return failErrno(Stage::run, "start " + program, code);
  return pid;
}

int copyOf(const sys::UniqueFd& fd) {
  return ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
}

asio::awaitable<void> readable(asio::posix::stream_descriptor& watched) {
  boost::system::error_code ignored;
  co_await watched.async_wait(asio::posix::stream_descriptor::wait_read,
                              asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

std::string defaultWorkerProgram() {
  std::array<char, PATH_MAX> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string self(path.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return self.substr(0, self.rfind('/') + 1) + "fallbackd-worker";
}

Result<std::shared_ptr<Worker>> Worker::start(const asio::any_io_executor& executor,
                                              const std::string& program) {
  FB_TRY(auto ends, sys::makeMessageSockets());
  FB_TRY(const auto pid, spawnProgram(program, ends[1]));
  FB_TRY(auto process, sys::openPidFd(Stage::run, pid));
  return std::shared_ptr<Worker>(new Worker(executor, pid, std::move(process), std::move(ends[0])));
}

Worker::Worker(const asio::any_io_executor& executor, pid_t pid, sys::PidFd process, sys::UniqueFd socket)
    : pid_(pid),
      process_(std::move(process)),
      socket_(std::move(socket)),
      answers_(executor, copyOf(socket_)),
      end_(executor, copyOf(process_)) {}

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
  // Closing alone would not do: Asio holds a copy of the number.
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
  if (!buried_ && !sys::isRunning(process_)) bury();
}

void Worker::bury() {
  siginfo_t ended{};
  buried_ = ::waitid(P_PIDFD, static_cast<id_t>(process_.get()), &ended, WEXITED | WNOHANG) == 0;
}

}  // namespace fallbackd::workers
