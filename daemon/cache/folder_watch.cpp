// SPDX-License-Identifier: Apache-2.0
#include "cache/folder_watch.hpp"

#include "base/async/within.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <sys/timerfd.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::cache {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::posix::descriptor_base;

namespace {

constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE |
                                  IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
// A binary and its attestation arrive one after the other; a copy from a slow disk takes a while.
constexpr auto kQuiet = 200ms;
constexpr auto kLongestWait = 2s;

/// Arms the timer that never expires but is cancelled when somebody sets the clock.
Result<> arm(int timer) {
  itimerspec never{};
  never.it_value.tv_sec = std::numeric_limits<std::int32_t>::max();
  // ECANCELED: the clock was set since the last time; the timer is armed nevertheless.
  if (::timerfd_settime(timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) != 0 &&
      errno != ECANCELED)
    return failErrno(Stage::admission, "watch the clock");
  return {};
}

}  // namespace

FolderWatch::FolderWatch(const asio::any_io_executor& executor, sys::Inotify inotify, sys::UniqueFd clock,
                         std::vector<std::string> folders)
    : inotify_(std::move(inotify)),
      folders_(std::move(folders)),
      descriptor_(executor, inotify_.nativeHandle()),
      clock_(executor, clock.release()) {}

FolderWatch::~FolderWatch() {
  if (descriptor_.is_open()) descriptor_.release();  // the inotify object owns the descriptor
}

Result<FolderWatch> FolderWatch::create(asio::any_io_executor executor, std::vector<std::string> folders) {
  FB_TRY(auto inotify, sys::Inotify::create(Stage::admission));
  sys::UniqueFd clock(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!clock) return failErrno(Stage::admission, "watch the clock");
  FB_CHECK(arm(clock.get()));
  FolderWatch watch(executor, std::move(inotify), std::move(clock), std::move(folders));
  watch.follow();
  return watch;
}

/// The same folder returns the same watch; a replaced folder gets a new one.
void FolderWatch::follow() {
  for (const auto& folder : folders_) {
    const auto added = inotify_.addWatch(Stage::admission, folder, kEvents);
    static_cast<void>(added);  // missing: retried at the next call
  }
}

asio::awaitable<void> FolderWatch::changed(std::chrono::nanoseconds interval) {
  using namespace asio::experimental::awaitable_operators;
  follow();
  const auto first = co_await (pauseFor(interval) ||
                               descriptor_.async_wait(descriptor_base::wait_read, asio::use_awaitable) ||
                               clock_.async_wait(descriptor_base::wait_read, asio::use_awaitable));
  if (first.index() == 2) {
    std::uint64_t count = 0;
    const auto got = ::read(clock_.native_handle(), &count, sizeof count);  // ECANCELED; this clears it
    static_cast<void>(got);
    static_cast<void>(arm(clock_.native_handle()));
  }
  if (first.index() != 1) co_return;
  const auto& clock = LoopClock::of(descriptor_.get_executor());
  const auto latest = clock.now() + kLongestWait;
  for (bool quiet = false; !quiet;) {
    inotify_.read();
    const bool more =
        co_await within(std::min(clock.now() + kQuiet, latest),
                        descriptor_.async_wait(descriptor_base::wait_read, asio::use_awaitable));
    quiet = !more || clock.now() >= latest;
  }
}

}  // namespace fallbackd::cache
