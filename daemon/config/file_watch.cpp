// SPDX-License-Identifier: Apache-2.0
#include "config/file_watch.hpp"

#include "base/async/within.hpp"
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

}  // namespace

FileWatch::FileWatch(asio::any_io_executor executor, std::string mainFile,
                     std::optional<std::string> dropInDir)
    : executor_(std::move(executor)),
      mainFile_(std::move(mainFile)),
      dropInDir_(dropInDir.value_or(defaultDropInDir(mainFile_))) {}

FileWatch::~FileWatch() {
  if (descriptor_) descriptor_->release();  // the inotify object owns the descriptor
}

Result<> FileWatch::watch() {
  if (paths_) return {};
  FB_TRY(auto paths, WatchedPaths::create(mainFile_, dropInDir_));
  FB_CHECK(paths.follow());
  paths_ = std::move(paths);
  descriptor_.emplace(executor_, paths_->nativeHandle());
  return {};
}

asio::awaitable<Result<>> FileWatch::changed() {
  FB_CO_CHECK(watch());
  do {
    co_await descriptor_->async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable);
  } while (!paths_->drain());

  const auto& clock = LoopClock::of(executor_);
  const auto latest = clock.now() + kLongestWait;
  auto quiet = clock.now() + kQuiet;
  for (;;) {
    const bool more = co_await within(
        quiet, descriptor_->async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable));
    if (!more || clock.now() >= latest) break;
    if (paths_->drain()) quiet = std::min(clock.now() + kQuiet, latest);
  }
  // Watches replaced and new folders before the caller reads the files.
  co_return paths_->follow();
}

}  // namespace fallbackd::config
