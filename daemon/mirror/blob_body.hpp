// SPDX-License-Identifier: Apache-2.0
// A blob of the content store, read only as fast as its client takes it. A bounded number of pieces at a time
// is being read or waits for its client; the other clients wait for their turn.
#pragma once

#include "base/fair_gate.hpp"
#include "cri/image_store.hpp"
#include "http/server.hpp"
#include "mirror/question.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::mirror {

/// How many pieces there are at once. Serves the longest waiter first: a client that has taken a piece
/// queues behind those that wait. One io_context thread.
class ReadTurns {
 public:
  static constexpr std::size_t kMaxPieces = 64;
  /// Destroying it ends the turn.
  using Turn = FairGate::Place;

  explicit ReadTurns(const boost::asio::any_io_executor& executor)
      : gate_(executor, FairLimits{kMaxPieces}) {}
  boost::asio::awaitable<Turn> begin() { return gate_.enter(FairGroup()); }

 private:
  FairGate gate_;
};

class BlobBody final : public http::Body {
 public:
  /// The size of a piece. With all turns taken, 16 MiB are in memory.
  static constexpr std::int64_t kPieceBytes = 256L << 10;

  BlobBody(cri::ImageStore& store, std::shared_ptr<ReadTurns> turns, std::string digest, ByteRange range,
           std::function<void(std::size_t)> count)
      : store_(store),
        turns_(std::move(turns)),
        digest_(std::move(digest)),
        at_(range.first),
        end_(range.last + 1),
        count_(std::move(count)) {}

  boost::asio::awaitable<Result<std::string>> next() override;

 private:
  cri::ImageStore& store_;
  std::shared_ptr<ReadTurns> turns_;
  ReadTurns::Turn turn_;  // of the latest piece, until the next one is requested
  std::string digest_;
  std::int64_t at_;
  std::int64_t end_;
  std::function<void(std::size_t)> count_;
};

}  // namespace fallbackd::mirror
