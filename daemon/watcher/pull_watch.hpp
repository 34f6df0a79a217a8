// SPDX-License-Identifier: Apache-2.0
// Whether one pull has stalled: slow is not dead. Puts together what the content store and the connections
// show. Pure: looks and times are handed in.
#pragma once

#include "base/clock.hpp"
#include "cri/types.hpp"
#include "sys/tcp_sockets.hpp"
#include "watcher/progress.hpp"
#include "watcher/wire.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::watcher {

/// How long a pull may stand still.
struct PullLimits {
  std::chrono::nanoseconds stall{};     // without a connection, or without TLS
  std::chrono::nanoseconds response{};  // connected
};

class PullWatch {
 public:
  /// `repository`: see Progress; `before`, `peer`: see Wire.
  PullWatch(PullLimits limits, std::string repository, std::optional<sys::TcpConnections> before,
            std::string peer, Stamp begun)
      : limits_(limits),
        progress_(std::move(repository)),
        wire_(std::move(before), std::move(peer)),
        begun_(begun),
        storeMoved_(begun),
        perhapsMoved_(begun),
        storeAsked_(begun) {}

  void sawConnections(std::optional<sys::TcpConnections> now, Stamp at) { wire_.look(std::move(now), at); }
  /// `asked`: when the store was asked, which is before it answered; by both clocks, since containerd records
  /// when things happened by the wall clock.
  void sawStore(const std::vector<cri::Content>& contents, const std::vector<cri::Ingest>& ingests,
                Stamp asked, Wall::time_point askedWall);
  /// The store did not answer: containerd is in trouble itself, and the pull's own end will show it.
  void missedStore(Stamp asked);

  /// When the pull counts as stalled, unless something moves before.
  [[nodiscard]] Stamp deadline() const { return moved() + limit(); }
  /// The time that it stood still, once the deadline is over and the store has been asked late enough.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> stalled(Stamp now) const;

  [[nodiscard]] bool downloading() const { return progress_.downloading(); }
  [[nodiscard]] bool delivered() const { return progress_.delivered(); }
  [[nodiscard]] bool connected() const { return wire_.visible() && wire_.connected(); }
  /// The longest time that the registry took to begin an answer before there was anything to download.
  [[nodiscard]] std::chrono::nanoseconds slowestAnswer() const { return slowestAnswer_; }

  /// From now on other limits hold for as long as nothing is being downloaded.
  void relax(PullLimits limits) { relaxed_ = limits; }

 private:
  [[nodiscard]] Stamp stampOf(Wall::time_point when, Stamp asked, Wall::time_point askedWall) const;
  [[nodiscard]] Monotonic::duration limit() const;
  [[nodiscard]] Stamp moved() const;
  [[nodiscard]] PullLimits limits() const {
    return relaxed_ && !progress_.downloading() ? *relaxed_ : limits_;
  }

  PullLimits limits_;
  std::optional<PullLimits> relaxed_;
  Progress progress_;
  Wire wire_;
  Stamp begun_;
  Stamp storeMoved_;
  Stamp perhapsMoved_;  // something that can be another pull's
  Stamp storeAsked_;
  std::chrono::nanoseconds slowestAnswer_{};
};

}  // namespace fallbackd::watcher
