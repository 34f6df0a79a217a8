// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/logs.hpp"

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/async/within.hpp"
#include "base/strings.hpp"
#include "launcher/logs/log_rate.hpp"
#include "launcher/pod_files.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <fcntl.h>
#include <optional>
#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::nanoseconds kTailPatience = 10ms;
// Limits the copies per second, so that a program that writes line by line is not copied line by line.
constexpr std::chrono::nanoseconds kPiecePause = 10ms;
constexpr std::chrono::nanoseconds kOpenLimit = 1s;  // a launch waits for it
constexpr std::chrono::nanoseconds kPieceLimit = 5s;
constexpr std::chrono::nanoseconds kUnreadPause = 5s;  // a FIFO that cannot be read
constexpr std::chrono::nanoseconds kFirstRetry = 30s;
constexpr std::chrono::nanoseconds kLastRetry = 10min;
constexpr LogRate::Allowance kPlenty{LogRate::kPieceBytes, LogRate::kPieceBytes};

workers::Task taskFor(const LogTarget& target, const char* what, workers::Urgency urgency,
                      std::chrono::nanoseconds limit) {
  workers::Task task;
  task.urgency = urgency;
  task.stage = Stage::logs;
  task.owner = target.owner;
  task.what = what + target.path;
  task.limit = limit;
  return task;
}

}  // namespace

/// Both streams write to one file, one piece at a time.
struct LogPump::Sink {
  Sink(const asio::any_io_executor& executor, std::shared_ptr<workers::Runner> given, LogTarget file)
      : runner(std::move(given)),
        target(std::move(file)),
        clock(LoopClock::of(executor)),
        rate(target.limits, clock.now()),
        passed(executor),
        hurrying(executor) {}

  asio::awaitable<void> turn();
  void pass();
  asio::awaitable<void> pause(std::chrono::nanoseconds length);
  asio::awaitable<std::optional<CopiedLog>> copy(Watched& fifo, std::string stream, LineEnds ends);

  std::shared_ptr<workers::Runner> runner;
  LogTarget target;
  const Clock& clock;
  LogRate rate;
  bool busy = false;  // one of the streams is writing
  Event passed;       // it has finished
  Event hurrying;     // the process has ended: what is left is limited
  Stamp retryAt;      // the file hung; until then lines are discarded
  Backoff retry{Backoff::Limits{kFirstRetry, kLastRetry}};
};

asio::awaitable<void> LogPump::Sink::turn() {
  while (busy) co_await passed.wait();
  busy = true;
}

void LogPump::Sink::pass() {
  busy = false;
  passed.notify();
}

asio::awaitable<void> LogPump::Sink::pause(std::chrono::nanoseconds length) {
  if (length > 0ns) co_await hurrying.waitFor(length);
}

/// A worker reads even without a file: a program that has the FIFO open can make a read hang. Empty if
/// nothing could be read.
asio::awaitable<std::optional<CopiedLog>> LogPump::Sink::copy(Watched& fifo, std::string stream,
                                                              LineEnds ends) {
  const auto now = clock.now();
  const auto allowed = hurrying.isSet() ? kPlenty : rate.allowance(now);
  const bool drops = target.path.empty() || now < retryAt;
  sys::UniqueFd end(::fcntl(fifo.native_handle(), F_DUPFD_CLOEXEC, 0));
  if (!end) co_return std::nullopt;
  auto task = taskFor(target, drops ? "drop output to " : "copy output to ", workers::Urgency::background,
                      kPieceLimit);
  if (drops) {
    ask(task, DropLogQuestion{allowed.bytes}, std::move(end));
  } else {
    ask(task,
        CopyLogQuestion{target.path, target.limits, std::move(stream), allowed.bytes, allowed.lines, ends},
        std::move(end));
  }
  const auto outcome = co_await runner->run(std::move(task));
  const auto answer = outcome ? readCopiedLog(*outcome) : tl::unexpected<Error>(outcome.error());
  if (!answer && drops) co_return std::nullopt;
  if (!answer) {
    retryAt = now + retry.next();
    co_return CopiedLog{};
  }
  if (!drops) retry.reset();
  rate.taken(answer->bytes, answer->lines);
  co_return *answer;
}

/// Copies whole lines. An incomplete line stays in the FIFO for a moment, because its end usually follows at
/// once (programs write in blocks); after that it is written as a part.
asio::awaitable<void> LogPump::copyStream(Watched fifo, std::string stream, std::shared_ptr<Sink> sink) {
  auto ends = LineEnds::whole_lines;
  for (;;) {
    boost::system::error_code error;
    co_await fifo.async_wait(Watched::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    co_await sink->turn();
    co_await sink->pause(sink->rate.wait(sink->clock.now()));
    const auto copied = co_await sink->copy(fifo, stream, ends);
    sink->pass();
    if (!copied) {
      if (sink->hurrying.isSet()) co_return;  // the rest cannot be read now
      co_await sink->pause(kUnreadPause);
      continue;
    }
    if (copied->left == CopiedLog::Left::nothing) co_return;
    const bool part = copied->left == CopiedLog::Left::part;
    ends = part ? LineEnds::parts_too : LineEnds::whole_lines;
    co_await sink->pause(part ? kTailPatience : kPiecePause);
  }
}

workers::Owner ownerOfLog(const std::string& path) {
  const auto parts = split(path, '/');
  if (parts.size() < 3) return {"", path};
  const std::string pod(parts[parts.size() - 3]);
  return {pod.substr(0, std::min(pod.find('_'), pod.size())), pod};
}

std::unique_ptr<workers::Begun> beginLog(workers::Runner& runner, const LogTarget& target) {
  auto task = taskFor(target, "open log file ", workers::Urgency::launch, kOpenLimit);
  ask(task, OpenLogQuestion{target.path, target.limits});
  return runner.begin(std::move(task));
}

Result<std::unique_ptr<LogPump>> LogPump::start(asio::any_io_executor executor,
                                                std::shared_ptr<workers::Runner> runner, sys::UniqueFd out,
                                                sys::UniqueFd err, LogTarget target) {
  const auto sink = std::make_shared<Sink>(executor, std::move(runner), std::move(target));
  std::unique_ptr<LogPump> pump(new LogPump(executor, sink));
  for (auto* stream : {&out, &err}) {
    FB_TRY(auto fifo, watch(executor, Stage::logs, stream->release()));
    pump->tasks_.spawn(copyStream(std::move(fifo), stream == &out ? "stdout" : "stderr", sink));
  }
  return pump;
}

LogPump::LogPump(const asio::any_io_executor& executor, std::shared_ptr<Sink> sink)
    : executor_(executor), sink_(std::move(sink)), tasks_(executor) {}

asio::awaitable<void> LogPump::drained(std::chrono::nanoseconds limit) {
  sink_->hurrying.set();
  co_await within(limit, tasks_.drained());
}

}  // namespace fallbackd::launcher
