#include "launcher/logs.hpp"

#include "launcher/cri_log.hpp"
#include "sys/file.hpp"

#include <array>
#include <fcntl.h>
#include <sys/stat.h>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr auto kTailPatience = std::chrono::milliseconds(10);

/// Both streams write to one file, one piece after the other: they share it and the pipe to peek through.
struct Sink {
  LogFile file;
  sys::UniqueFd peekIn;
  sys::UniqueFd peekOut;
  std::array<char, kReadBytes> buffer{};
};

/// Reads exactly `size` bytes that are there; false where they are not, which the kernel promises.
bool readWhole(int fd, char* to, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::read(fd, to + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

/// What is next in the FIFO, without taking it out; 0 at its end, -1 with errno.
ssize_t peek(int fifo, Sink& sink) {
  const ssize_t size = ::tee(fifo, sink.peekIn.get(), sink.buffer.size(), SPLICE_F_NONBLOCK);
  if (size <= 0) return size;
  return readWhole(sink.peekOut.get(), sink.buffer.data(), static_cast<std::size_t>(size)) ? size : 0;
}

/// Whole lines at once. What is no whole line yet stays in the FIFO for a moment, since its end is mostly on
/// its way (programs write in blocks), and goes as a part then.
asio::awaitable<void> copyStream(asio::posix::stream_descriptor fifo, std::string stream,
                                 std::shared_ptr<Sink> sink) {
  const CriLogFramer framer(std::move(stream));
  asio::steady_timer patience(fifo.get_executor());
  bool waited = false;
  for (;;) {
    boost::system::error_code error;
    co_await fifo.async_wait(asio::posix::stream_descriptor::wait_read,
                             asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    // One buffer a turn: a process that never stops writing must not keep the others from theirs.
    const ssize_t size = peek(fifo.native_handle(), *sink);
    if (size == 0) co_return;
    if (size < 0 && errno != EAGAIN && errno != EINTR) co_return;
    if (size < 0) continue;
    std::string_view bytes(sink->buffer.data(), static_cast<std::size_t>(size));
    const auto lines = bytes.rfind('\n') + 1;  // 0 where there is none
    if (lines == 0 && bytes.size() < CriLogFramer::kMaxContent && !std::exchange(waited, true)) {
      patience.expires_after(kTailPatience);
      co_await patience.async_wait(asio::use_awaitable);
      continue;
    }
    waited = false;
    if (lines > 0) bytes = bytes.substr(0, lines);
    sink->file.write(framer.frame(bytes, Wall::now()));
    if (!readWhole(fifo.native_handle(), sink->buffer.data(), bytes.size())) co_return;
  }
}

}  // namespace

Result<std::unique_ptr<LogPump>> LogPump::start(asio::any_io_executor executor, sys::UniqueFd out,
                                                sys::UniqueFd err, LogFile file) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return failErrno(Stage::logs, "make a pipe");
  const auto sink = std::make_shared<Sink>();
  sink->file = std::move(file);
  sink->peekOut = sys::UniqueFd(ends[0]);
  sink->peekIn = sys::UniqueFd(ends[1]);
  std::unique_ptr<LogPump> pump(new LogPump(executor));
  for (auto* stream : {&out, &err}) {
    pump->tasks_.spawn(copyStream(asio::posix::stream_descriptor(executor, stream->release()),
                                  stream == &out ? "stdout" : "stderr", sink));
  }
  return pump;
}

asio::awaitable<void> LogPump::drained(std::chrono::nanoseconds limit) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(executor_);
  timer.expires_after(limit);
  const std::variant<std::monostate, std::monostate> first =
      co_await (tasks_.drained() || timer.async_wait(asio::use_awaitable));
  static_cast<void>(first);
}

}  // namespace fallbackd::launcher
