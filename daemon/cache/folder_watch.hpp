// SPDX-License-Identifier: Apache-2.0
// Reports when binaries, attestations or keys may have changed (added, replaced, removed, owner or mode
// changed), and when the clock was set, because expiries and key limits depend on it. One io_context thread.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"
#include "sys/inotify.hpp"
#include "sys/watch_news.hpp"

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd::cache {

class FolderWatch {
 public:
  /// Folders that are missing, now or later, are watched as soon as they exist. `told` is called when the
  /// kernel cannot watch (limits of inotify, descriptors), and when it can again: until then only the
  /// interval counts. Errors have stage admission.
  FolderWatch(const boost::asio::any_io_executor& executor, std::vector<std::string> folders,
              sys::WatchNews::Told told = nullptr);
  FolderWatch(const FolderWatch&) = delete;
  FolderWatch& operator=(const FolderWatch&) = delete;
  ~FolderWatch();

  /// Watches only these from now on, also in a call of changed() that is under way.
  void watchInstead(std::vector<std::string> folders);

  /// Returns after something happened and then nothing more for a short while, or after `interval`: by then
  /// it has found what inotify does not report (a new mount over a folder, a missing folder). The next call
  /// reports what happens after the return. Cancellable.
  boost::asio::awaitable<void> changed(std::chrono::nanoseconds interval);

 private:
  Result<> watch();
  Result<> openClock();
  Result<> openInotify();
  Result<> follow();

  std::vector<std::string> folders_;
  std::set<int> watches_;  // of inotify_; some may have gone with their folders
  sys::WatchNews news_;
  std::optional<sys::Inotify> inotify_;
  boost::asio::posix::stream_descriptor descriptor_;  // of inotify_; closed while there is none
  boost::asio::posix::stream_descriptor clock_;       // likewise
};

}  // namespace fallbackd::cache
