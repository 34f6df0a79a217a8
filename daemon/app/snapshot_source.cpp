// SPDX-License-Identifier: Apache-2.0
#include "app/snapshot_source.hpp"

#include "base/async/pause.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

namespace fallbackd::app {

namespace asio = boost::asio;

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

const kube::Pod* specOf(const Snapshot& snapshot, const std::string& podUid) {
  const auto found = snapshot.specs.find(podUid);
  return found == snapshot.specs.end() ? nullptr : found->second.get();
}

SnapshotSource::SnapshotSource(asio::any_io_executor server, asio::any_io_executor daemon,
                               std::function<Snapshot()> collect)
    : daemon_(std::move(daemon)), collect_(std::move(collect)), asked_(server), answered_(server) {}

asio::awaitable<SnapshotPtr> SnapshotSource::take() {
  const auto mine = ++question_;
  asked_.notify();
  while (answeredUpTo_ < mine) co_await answered_.wait();
  co_return latest_;
}

asio::awaitable<void> SnapshotSource::run() {
  for (;;) {
    while (question_ == answeredUpTo_) co_await asked_.wait();
    const auto upTo = question_;  // requests from here on need a newer snapshot
    latest_ = co_await collectOnce();
    answeredUpTo_ = upTo;
    answered_.notify();
    co_await pauseFor(kMinInterval);
  }
}

struct SnapshotSource::Answer {
  explicit Answer(const asio::any_io_executor& server) : given(server) {}
  Event given;
  SnapshotPtr snapshot;
};

asio::awaitable<SnapshotPtr> SnapshotSource::collectOnce() {
  const auto server = asked_.executor();
  const auto answer = std::make_shared<Answer>(server);
  asio::post(daemon_, [server, held = answer, collect = collect_]() mutable {
    asio::post(server, [answer = std::move(held), made = std::make_shared<const Snapshot>(collect())] {
      answer->snapshot = made;
      answer->given.set();
    });
  });
  co_await answer->given.waitFor(kPatience);
  co_return answer->snapshot;
}

}  // namespace fallbackd::app
