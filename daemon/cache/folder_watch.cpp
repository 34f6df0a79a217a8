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

/// Waits for ever if there is nothing to wait for.
asio::awaitable<void> readable(asio::posix::stream_descriptor& descriptor) {
  if (!descriptor.is_open()) co_return co_await untilCancelled();
  co_await descriptor.async_wait(descriptor_base::wait_read, asio::use_awaitable);
}

}  // namespace

FolderWatch::FolderWatch(const asio::any_io_executor& executor, std::vector<std::string> folders,
                         sys::WatchNews::Told told)
    : folders_(std::move(folders)), news_(std::move(told)), descriptor_(executor), clock_(executor) {
  news_.attempted(watch());
}

FolderWatch::~FolderWatch() {
  if (descriptor_.is_open()) descriptor_.release();  // the inotify object owns the descriptor
}

void FolderWatch::watchInstead(std::vector<std::string> folders) {
  if (folders == folders_) return;
  folders_ = std::move(folders);
  const auto before = std::exchange(watches_, {});
  news_.attempted(watch());
  for (const int one : before) {
    if (!watches_.contains(one)) inotify_->removeWatch(one);
  }
}

/// Each call tries again what is missing.
Result<> FolderWatch::watch() {
  const auto clock = openClock();
  FB_CHECK(openInotify());
  FB_CHECK(follow());
  return clock;
}

Result<> FolderWatch::openClock() {
  if (clock_.is_open()) return {};
  sys::UniqueFd clock(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!clock) return failErrno(Stage::admission, "watch the clock");
  FB_CHECK(arm(clock.get()));
  boost::system::error_code error;
  clock_.assign(clock.get(), error);
  if (error) return fail(Stage::admission, Reason::system, "wait for the clock", error.value());
  static_cast<void>(clock.release());
  return {};
}

Result<> FolderWatch::openInotify() {
  if (descriptor_.is_open()) return {};
  FB_TRY(auto inotify, sys::Inotify::create(Stage::admission));
  boost::system::error_code error;
  descriptor_.assign(inotify.nativeHandle(), error);
  if (error) return fail(Stage::admission, Reason::system, "wait for inotify", error.value());
  inotify_.emplace(std::move(inotify));
  return {};
}

/// The same folder returns the same watch; a replaced folder gets a new one.
Result<> FolderWatch::follow() {
  Result<> followed;
  for (const auto& folder : folders_) {
    const auto added = inotify_->addWatch(Stage::admission, folder, kEvents);
    if (added) {
      watches_.insert(*added);
    } else if (added.error().reason != Reason::not_found) {
      followed = tl::unexpected<Error>(added.error());
    }
  }
  return followed;
}

asio::awaitable<void> FolderWatch::changed(std::chrono::nanoseconds interval) {
  using namespace asio::experimental::awaitable_operators;
  news_.attempted(watch());
  const auto first = co_await (pauseFor(interval) || readable(descriptor_) || readable(clock_));
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
    inotify_->read();
    const bool more =
        co_await within(std::min(clock.now() + kQuiet, latest),
                        descriptor_.async_wait(descriptor_base::wait_read, asio::use_awaitable));
    quiet = !more || clock.now() >= latest;
  }
}

}  // namespace fallbackd::cache
