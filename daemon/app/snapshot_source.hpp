// SPDX-License-Identifier: Apache-2.0
// Snapshots of the daemon's loop for the HTTP server's thread. Each is newer than the request. However many
// clients ask, the loop is interrupted at most fifty times a second. Used on the server's io_context thread.
#pragma once

#include "app/snapshot.hpp"
#include "base/async/event.hpp"

#include <chrono>
#include <functional>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::app {

class SnapshotSource {
 public:
  static constexpr std::chrono::milliseconds kMinInterval{20};
  static constexpr std::chrono::seconds kPatience{3};

  /// `collect` runs on `daemon`. The `server` context keeps everything that waits alive, and must outlive the
  /// daemon's.
  SnapshotSource(boost::asio::any_io_executor server, boost::asio::any_io_executor daemon,
                 std::function<Snapshot()> collect);

  /// Null if the daemon's loop does not respond.
  boost::asio::awaitable<SnapshotPtr> take();

  /// Runs until cancelled.
  boost::asio::awaitable<void> run();

 private:
  struct Answer;
  boost::asio::awaitable<SnapshotPtr> collectOnce();

  boost::asio::any_io_executor daemon_;
  std::function<Snapshot()> collect_;
  Event asked_;
  Event answered_;
  std::uint64_t question_ = 0;  // the last request
  std::uint64_t answeredUpTo_ = 0;
  SnapshotPtr latest_;
};

}  // namespace fallbackd::app
