// SPDX-License-Identifier: Apache-2.0
// Reports changes of the configuration's files: by an editor, by an atomic rename, or by the symlink swap
// with which kubelet updates a mounted ConfigMap. Runs on one io_context thread.
#pragma once

#include "base/async/backoff.hpp"
#include "base/error.hpp"
#include "config/watched_paths.hpp"
#include "sys/watch_news.hpp"

#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd::config {

class FileWatch {
 public:
  /// `told` is called when the kernel cannot watch (limits of inotify, descriptors), and when it can again:
  /// until then the files' metadata is compared every few seconds. `asRead`: their metadata before the first
  /// read, if that was earlier than watch(); then the first changed() returns at once if they have changed
  /// since. Errors have stage config.
  FileWatch(boost::asio::any_io_executor executor, std::string mainFile, std::optional<std::string> dropInDir,
            sys::WatchNews::Told told = nullptr, std::optional<std::string> asRead = {});
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;
  ~FileWatch();

  /// Starts to watch; changed() does so, too, if this was not called. Call it before the first read of the
  /// files, or give their metadata, so that no change in between is missed. Stage config.
  Result<> watch();

  /// Returns after a change, once nothing more has changed for a short while, and when the files can be
  /// watched again. A caller that loads after each return always ends up with what is on disk. Cancellable.
  boost::asio::awaitable<void> changed();

 private:
  Result<> begin();
  void stop();
  boost::asio::awaitable<void> compare();
  [[nodiscard]] std::string metadata() const;

  boost::asio::any_io_executor executor_;
  std::string mainFile_;
  std::string dropInDir_;
  sys::WatchNews news_;
  std::optional<WatchedPaths> paths_;                 // empty: not watched
  boost::asio::posix::stream_descriptor descriptor_;  // of paths_
  std::optional<std::string> seen_;                   // metadata() before the last read, while not watched
  std::optional<std::string> asRead_;                 // of the constructor, until the first changed()
  Backoff pause_;
};

}  // namespace fallbackd::config
