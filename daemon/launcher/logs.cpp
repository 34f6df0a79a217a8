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

// What the process may write while no daemon reads. The kernel's most for everybody is 1 MiB.
constexpr int kFifoBytes = 1 << 20;
constexpr std::size_t kReadBytes = 64 * 1024;

struct Sink {
  sys::UniqueFd file;
  void write(const std::string& lines) const {
    if (!file || lines.empty()) return;
    static_cast<void>(sys::writeAll(Stage::logs, file, lines, "log file"));
  }
};

/// Writes the unfinished line when the copying ends, however it ends.
struct Tail {
  CriLogFramer framer;
  std::shared_ptr<Sink> sink;
  ~Tail() { sink->write(framer.finish(Wall::now())); }
};

asio::awaitable<void> copyStream(asio::posix::stream_descriptor fifo, std::string stream,
                                 std::shared_ptr<Sink> sink) {
  Tail tail{CriLogFramer(std::move(stream)), std::move(sink)};
  auto buffer = std::make_unique<std::array<char, kReadBytes>>();
  for (;;) {
    boost::system::error_code error;
    co_await fifo.async_wait(asio::posix::stream_descriptor::wait_read,
                             asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    // One buffer a turn: a process that never stops writing must not keep the others from theirs.
    const ssize_t got = ::read(fifo.native_handle(), buffer->data(), buffer->size());
    if (got == 0) co_return;
    if (got < 0 && errno != EAGAIN && errno != EINTR) co_return;
    if (got > 0)
      tail.sink->write(tail.framer.feed({buffer->data(), static_cast<std::size_t>(got)}, Wall::now()));
  }
}

}  // namespace

std::string fifoDirOf(const std::string& runDir, const std::string& recoveryId) {
  return runDir + "/recoveries/" + recoveryId;
}

Result<> makeFifos(const std::string& fifoDir) {
  FB_CHECK(sys::removeTree(Stage::logs, fifoDir));
  FB_CHECK(sys::makeDirs(Stage::logs, fifoDir, 0700));
  for (const char* name : {"stdout", "stderr"}) {
    const std::string path = fifoDir + "/" + name;
    if (::mkfifo(path.c_str(), 0600) != 0) return failErrno(Stage::logs, "make FIFO " + path);
  }
  return {};
}

Result<sys::UniqueFd> openFifo(const std::string& fifoDir, const std::string& name, FifoEnd end) {
  FB_TRY(const auto folder, sys::openDir(Stage::logs, fifoDir));
  const int flags = end == FifoEnd::daemon ? O_RDONLY | O_NONBLOCK : O_RDWR;
  sys::UniqueFd fifo(::openat(folder.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  if (!fifo) return failErrno(Stage::logs, "open FIFO " + name + " in " + fifoDir);
  struct stat info {};
  if (::fstat(fifo.get(), &info) != 0 || !S_ISFIFO(info.st_mode)) {
    return fail(Stage::logs, Reason::unsafe_file_type, name + " in " + fifoDir + " is not a FIFO");
  }
  // Where the user's share of pipe memory is used up, the default 64 KiB stay.
  if (end == FifoEnd::process) static_cast<void>(::fcntl(fifo.get(), F_SETPIPE_SZ, kFifoBytes));
  return fifo;
}

std::string logFileOf(const std::string& logDirectory, const std::string& container, unsigned restartCount) {
  if (logDirectory.empty()) return {};
  return logDirectory + "/" + container + "-fallback/" + std::to_string(restartCount) + ".log";
}

Result<sys::UniqueFd> openLogFile(const std::string& path) {
  const auto fileAt = path.rfind('/');
  const auto folderAt = fileAt == std::string::npos ? fileAt : path.rfind('/', fileAt - 1);
  if (folderAt == std::string::npos || folderAt == 0) {
    return fail(Stage::logs, Reason::invalid, "log file " + path);
  }
  const std::string podFolder = path.substr(0, folderAt);
  const std::string folder = path.substr(folderAt + 1, fileAt - folderAt - 1);
  FB_CHECK(sys::makeDirs(Stage::logs, podFolder, 0755));
  FB_TRY(const auto pod, sys::openDir(Stage::logs, podFolder));
  if (::mkdirat(pod.get(), folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return failErrno(Stage::logs, "create folder " + folder + " in " + podFolder);
  }
  FB_TRY(auto file,
         sys::openBeneath(Stage::logs, pod, folder + path.substr(fileAt), O_WRONLY | O_APPEND | O_CREAT));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink != 1) {
    return fail(Stage::logs, Reason::unsafe_file_type, path + " is not a file of its own");
  }
  if (::fchmod(file.get(), 0640) != 0) return failErrno(Stage::logs, "set the mode of " + path);
  return file;
}

LogPump::LogPump(asio::any_io_executor executor, sys::UniqueFd out, sys::UniqueFd err, sys::UniqueFd file)
    : executor_(executor), tasks_(executor) {
  const auto sink = std::make_shared<Sink>(Sink{std::move(file)});
  tasks_.spawn(copyStream(asio::posix::stream_descriptor(executor_, out.release()), "stdout", sink));
  tasks_.spawn(copyStream(asio::posix::stream_descriptor(executor_, err.release()), "stderr", sink));
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
