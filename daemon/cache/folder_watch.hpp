// Tells when binaries, attestations or keys may have changed: placed, replaced, removed, their owner or mode
// changed; and when the clock was set, since expiries and keys' times are judged by it. One io_context
// thread.
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
  /// Folders that are missing, now or later, are watched as soon as they are found. Stage admission.
  static Result<FolderWatch> create(boost::asio::any_io_executor executor, std::vector<std::string> folders);
  FolderWatch(FolderWatch&&) = default;
  FolderWatch& operator=(FolderWatch&&) = delete;
  ~FolderWatch();

  /// Returns once something happened and then nothing more did for a short while, or after `interval`: what
  /// inotify does not tell (another mount over a folder, a folder that was missing) is found by then. What
  /// happens after a return is told by the next call. Cancellable.
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
