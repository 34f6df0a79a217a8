// SPDX-License-Identifier: Apache-2.0
#include "config/file_watch.hpp"

#include "base/async/within.hpp"
#include "config/files.hpp"
#include "config/load.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::config {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Long enough for the few renames of an editor or kubelet, short enough to go unnoticed. The upper limit
// keeps files that change all the time from delaying a reload for ever.
constexpr auto kQuiet = 50ms;
constexpr auto kLongestWait = 1s;
// A look at the metadata of a few files costs nothing.
constexpr Backoff::Limits kUnwatchedPauses{1s, 5s};

}  // namespace

FileWatch::FileWatch(asio::any_io_executor executor, std::string mainFile,
                     std::optional<std::string> dropInDir, sys::WatchNews::Told told,
                     std::optional<std::string> asRead)
    : executor_(std::move(executor)),
      mainFile_(std::move(mainFile)),
      dropInDir_(dropInDir.value_or(defaultDropInDir(mainFile_))),
      news_(std::move(told)),
      descriptor_(executor_),
      asRead_(std::move(asRead)),
      pause_(kUnwatchedPauses) {}

FileWatch::~FileWatch() {
  stop();
}

/// The inotify object owns the descriptor.
void FileWatch::stop() {
  if (descriptor_.is_open()) descriptor_.release();
  paths_.reset();
}

Result<> FileWatch::watch() {
  if (paths_) return {};
  auto begun = begin();
  news_.attempted(begun);
  return begun;
}

Result<> FileWatch::begin() {
  FB_TRY(auto paths, WatchedPaths::create(mainFile_, dropInDir_));
  FB_CHECK(paths.follow());
  boost::system::error_code error;
  descriptor_.assign(paths.nativeHandle(), error);
  if (error) return fail(Stage::config, Reason::system, "wait for inotify", error.value());
  paths_.emplace(std::move(paths));
  pause_.reset();
  return {};
}

std::string FileWatch::metadata() const {
  return metadataOf(mainFile_, dropInDir_);
}

/// Waits until the files have changed or can be watched: any change before that may have gone unnoticed.
asio::awaitable<void> FileWatch::compare() {
  if (!seen_) seen_ = std::exchange(asRead_, std::nullopt);
  if (!seen_) seen_ = metadata();
  for (;;) {
    co_await pause_.wait();
    if (watch()) {
      seen_.reset();
      co_return;
    }
    auto now = metadata();
    const bool same = now == *seen_;
    seen_ = std::move(now);
    if (!same) co_return;
  }
}

asio::awaitable<void> FileWatch::changed() {
  const auto watched = watch();
  if (!watched) co_return co_await compare();
  // A change before this may have gone unnoticed.
  if (std::exchange(seen_, std::nullopt)) co_return;
  if (const auto read = std::exchange(asRead_, std::nullopt); read && *read != metadata()) co_return;
  do {
    co_await descriptor_.async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable);
  } while (!paths_->drain());

  const auto& clock = LoopClock::of(executor_);
  const auto latest = clock.now() + kLongestWait;
  auto quiet = clock.now() + kQuiet;
  for (;;) {
    const bool more = co_await within(
        quiet, descriptor_.async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable));
    if (!more || clock.now() >= latest) break;
    if (paths_->drain()) quiet = std::min(clock.now() + kQuiet, latest);
  }
  // Watches replaced and new folders before the caller reads the files.
  const auto followed = paths_->follow();
  news_.attempted(followed);
  if (followed) co_return;
  stop();
  seen_ = metadata();
}

}  // namespace fallbackd::config
