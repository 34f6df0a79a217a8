// SPDX-License-Identifier: Apache-2.0
// The API server as a source: lists the pods of this node once and follows them by a watch. What breaks is
// tried again by itself, later and later, at times that differ between nodes.
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
  /// What a step came to. Without an error: the next step is due at once.
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
  std::string version_;      // up to which everything is known; empty: nothing is
  bool synced_ = false;      // a watch may go on from version_
  bool fromEtcd_ = false;    // the watch cache had nothing for us
  bool goneBefore_ = false;  // the version of the latest list was gone before a watch gave anything
};

}  // namespace fallbackd::kube
