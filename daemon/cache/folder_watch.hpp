// SPDX-License-Identifier: Apache-2.0
// Reports when binaries, attestations or keys may have changed (added, replaced, removed, owner or mode
// changed), and when the clock was set, because expiries and key limits depend on it. One io_context thread.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"
#include "sys/inotify.hpp"

#include <chrono>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd::cache {

class FolderWatch {
 public:
  /// Folders that are missing, now or later, are watched as soon as they exist. Stage admission.
  static Result<FolderWatch> create(boost::asio::any_io_executor executor, std::vector<std::string> folders);
  FolderWatch(FolderWatch&&) = default;
  FolderWatch& operator=(FolderWatch&&) = delete;
  ~FolderWatch();

  /// Returns after something happened and then nothing more for a short while, or after `interval`: what
  /// inotify does not report (another mount over a folder, a missing folder) is found by then. What happens
  /// after the return is reported by the next call. Cancellable.
  boost::asio::awaitable<void> changed(std::chrono::nanoseconds interval);

 private:
  FolderWatch(const boost::asio::any_io_executor& executor, sys::Inotify inotify, sys::UniqueFd clock,
              std::vector<std::string> folders);
  void follow();

  sys::Inotify inotify_;
  std::vector<std::string> folders_;
  boost::asio::posix::stream_descriptor descriptor_;
  boost::asio::posix::stream_descriptor clock_;
};

}  // namespace fallbackd::cache
