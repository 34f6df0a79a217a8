// Snapshots of the daemon's loop for the HTTP server's thread: each is younger than the question, and however
// many ask, the loop is disturbed at most fifty times a second. One io_context thread, the server's.
#pragma once

#include "app/snapshot.hpp"

#include <chrono>
#include <functional>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fallbackd::app {

class SnapshotSource {
 public:
  static constexpr std::chrono::milliseconds kLeastInterval{20};
  static constexpr std::chrono::seconds kPatience{3};

  /// `collect` runs on `daemon`. Whatever waits on it is kept alive by `server`'s context, which must outlive
  /// the daemon's.
  SnapshotSource(boost::asio::any_io_executor server, boost::asio::any_io_executor daemon,
                 std::function<Snapshot()> collect);

  /// Null where the daemon's loop does not answer.
  boost::asio::awaitable<SnapshotPtr> take();

  /// Runs until cancelled.
  boost::asio::awaitable<void> run();

 private:
  struct Answer;
  boost::asio::awaitable<SnapshotPtr> collectOnce();

  boost::asio::any_io_executor daemon_;
  std::function<Snapshot()> collect_;
  boost::asio::steady_timer asked_;     // cancelled when somebody asks
  boost::asio::steady_timer answered_;  // cancelled when there is an answer
  std::uint64_t question_ = 0;          // the last one
  std::uint64_t answeredUpTo_ = 0;
  SnapshotPtr latest_;
};

}  // namespace fallbackd::app
