// SPDX-License-Identifier: Apache-2.0
// Reports changes of the configuration's files: by an editor, by an atomic rename, or by the symlink swap
// with which kubelet updates a mounted ConfigMap. Runs on one io_context thread.
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

  /// Starts to watch; changed() does so, too, if this was not called. Call it before the first read of the
  /// files, so that no change in between is missed. Stage config.
  Result<> watch();

  /// Returns after a change, once nothing more has changed for a short while. A caller that loads after each
  /// return always ends up with what is on disk. Cancellable. Stage config if watching fails.
  boost::asio::awaitable<Result<>> changed();

 private:
  boost::asio::any_io_executor executor_;
  std::string mainFile_;
  std::string dropInDir_;
  std::optional<WatchedPaths> paths_;
  std::optional<boost::asio::posix::stream_descriptor> descriptor_;
};

}  // namespace fallbackd::config
