// SPDX-License-Identifier: Apache-2.0
// The API server as a source: lists the pods of this node once and follows them by a watch. After an
// error it tries again by itself, with increasing and jittered pauses.
//
// Thread: the executor's. Cancellation: run() ends when it is cancelled.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/jitter.hpp"
#include "kube/access.hpp"
#include "kube/connection.hpp"
#include "kube/source.hpp"

#include <chrono>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class ApiServer {
 public:
  ApiServer(const boost::asio::any_io_executor& executor, AccessSource access, std::string nodeName,
            PodSink& sink);

  boost::asio::awaitable<void> run();

  [[nodiscard]] const SourceState& state() const { return state_.state(); }

 private:
  /// The result of a step; without an error the next step follows at once.
  struct Trouble {
    Error error;
    Outcome outcome = Outcome::unreachable;
    std::optional<std::chrono::seconds> retryAfter;
  };
  using Step = std::optional<Trouble>;

  boost::asio::awaitable<Step> list();
  boost::asio::awaitable<Step> watch();
  boost::asio::awaitable<Step> follow(Connection& connection, Stamp deadline);
  boost::asio::awaitable<Step> endOfWatch(Step end, std::chrono::nanoseconds lasted);
  Step take(const std::string& line);
  boost::asio::awaitable<void> recover(Trouble trouble);
  Step refused(const Answer& answer, const char* verb);
  [[nodiscard]] std::string selector() const;

  const Clock& clock_;
  AccessSource access_;
  std::string nodeName_;
  PodSink& sink_;
  StateKeeper state_;
  Backoff backoff_;
  Jitter jitter_;
  std::string version_;      // everything up to it is known; empty: nothing is
  bool synced_ = false;      // a watch can continue from version_
  bool fromEtcd_ = false;    // the watch cache could not answer
  bool goneBefore_ = false;  // the latest list's version had expired before a watch returned anything
};

}  // namespace fallbackd::kube
