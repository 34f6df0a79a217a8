// SPDX-License-Identifier: Apache-2.0
#include "app/snapshot_source.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::app {

namespace asio = boost::asio;

namespace {

asio::awaitable<void> untilCancelled(asio::steady_timer& timer) {
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

std::string wallTime(const Snapshot& snapshot, Stamp at) {
  const auto ago = std::chrono::duration_cast<Wall::duration>(snapshot.takenAt - at);
  return rfc3339(std::chrono::time_point_cast<std::chrono::seconds>(snapshot.taken - ago));
}

const recovery::BinaryState* binaryOf(const Snapshot& snapshot, const BinaryRef& ref) {
  if (!snapshot.binaries) return nullptr;
  const auto found = std::find_if(snapshot.binaries->begin(), snapshot.binaries->end(),
                                  [&](const auto& one) { return one.ref == ref; });
  return found == snapshot.binaries->end() ? nullptr : &*found;
}

SnapshotSource::SnapshotSource(asio::any_io_executor server, asio::any_io_executor daemon,
                               std::function<Snapshot()> collect)
    : daemon_(std::move(daemon)),
      collect_(std::move(collect)),
      asked_(server, asio::steady_timer::time_point::max()),
      answered_(server, asio::steady_timer::time_point::max()) {}

asio::awaitable<SnapshotPtr> SnapshotSource::take() {
  const auto mine = ++question_;
  asked_.cancel();
  while (answeredUpTo_ < mine) co_await untilCancelled(answered_);
  co_return latest_;
}

asio::awaitable<void> SnapshotSource::run() {
  asio::steady_timer pause(asked_.get_executor());
  for (;;) {
    while (question_ == answeredUpTo_) co_await untilCancelled(asked_);
    const auto upTo = question_;  // requests from here on need a newer snapshot
    latest_ = co_await collectOnce();
    answeredUpTo_ = upTo;
    answered_.cancel();
    pause.expires_after(kMinInterval);
    co_await pause.async_wait(asio::use_awaitable);
  }
}

struct SnapshotSource::Answer {
  explicit Answer(const asio::any_io_executor& server) : late(server, kPatience) {}
  asio::steady_timer late;
  SnapshotPtr snapshot;
};

asio::awaitable<SnapshotPtr> SnapshotSource::collectOnce() {
  const auto server = asked_.get_executor();
  const auto answer = std::make_shared<Answer>(server);
  asio::post(daemon_, [server, held = answer, collect = collect_]() mutable {
    asio::post(server, [answer = std::move(held), made = std::make_shared<const Snapshot>(collect())] {
      answer->snapshot = made;
      answer->late.cancel();
    });
  });
  co_await untilCancelled(answer->late);
  co_return answer->snapshot;
}

}  // namespace fallbackd::app
