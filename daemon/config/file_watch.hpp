// SPDX-License-Identifier: Apache-2.0
// Tells when the configuration's files changed: by an editor, by an atomic rename, or by the symlink swap
// with which kubelet updates a mounted ConfigMap. One io_context thread.
#pragma once

#include "base/error.hpp"
#include "config/watched_paths.hpp"

#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd::config {

class FileWatch {
 public:
  FileWatch(boost::asio::any_io_executor executor, std::string mainFile,
            std::optional<std::string> dropInDir);
  ~FileWatch();

  /// Begins to watch. changed() does it too where it was not called; who calls it before the files are first
  /// read misses nothing between the two. Stage config.
  Result<> watch();

  /// Returns once something changed and then nothing more did for a short while. A caller that loads after
  /// each return always ends with what is on disk. Cancellable. Stage config where watching fails.
  boost::asio::awaitable<Result<>> changed();

 private:
  boost::asio::any_io_executor executor_;
  std::string mainFile_;
  std::string dropInDir_;
  std::optional<WatchedPaths> paths_;
  std::optional<boost::asio::posix::stream_descriptor> descriptor_;
};

}  // namespace fallbackd::config
