// SPDX-License-Identifier: Apache-2.0
#include "config/reload.hpp"

#include "config/load.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::config {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Long enough for an editor's or kubelet's handful of renames to be over, short enough to be noticed by
// nobody; never put off for ever by files that do not come to rest.
constexpr auto kQuiet = 50ms;
constexpr auto kLongestWait = 1s;

}  // namespace

Watcher::Watcher(asio::any_io_executor executor, std::string mainFile, std::optional<std::string> dropInDir)
    : executor_(std::move(executor)),
      mainFile_(std::move(mainFile)),
      dropInDir_(dropInDir.value_or(defaultDropInDir(mainFile_))) {}

Watcher::~Watcher() {
  if (descriptor_) descriptor_->release();  // the inotify object owns the descriptor
}

Result<> Watcher::watch() {
  if (paths_) return {};
  FB_TRY(auto paths, WatchedPaths::create(mainFile_, dropInDir_));
  FB_CHECK(paths.follow());
  paths_ = std::move(paths);
  descriptor_.emplace(executor_, paths_->nativeHandle());
  return {};
}

asio::awaitable<Result<>> Watcher::changed() {
  FB_CO_CHECK(watch());
  do {
    co_await descriptor_->async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable);
  } while (!paths_->drain());

  using namespace asio::experimental::awaitable_operators;
  const auto latest = std::chrono::steady_clock::now() + kLongestWait;
  asio::steady_timer quiet(executor_, kQuiet);
  for (;;) {
    const auto first =
        co_await (quiet.async_wait(asio::use_awaitable) ||
                  descriptor_->async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable));
    if (first.index() == 0 || std::chrono::steady_clock::now() >= latest) break;
    if (paths_->drain()) quiet.expires_at(std::min(std::chrono::steady_clock::now() + kQuiet, latest));
  }
  // What was replaced, or is new, is watched before the caller reads the files.
  co_return paths_->follow();
}

}  // namespace fallbackd::config
