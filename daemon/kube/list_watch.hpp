// SPDX-License-Identifier: Apache-2.0
// Lists one kind of objects from the API server once and follows them by a watch. After an error it tries
// again by itself, with increasing and jittered pauses.
//
// Thread: the executor's. Cancellation: run() ends when it is cancelled.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/jitter.hpp"
#include "kube/access.hpp"
#include "kube/connection.hpp"
#include "kube/listing.hpp"
#include "kube/source.hpp"

#include <chrono>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

/// Receives what is listed and watched, on the executor's thread.
class CollectionSink {
 public:
  CollectionSink() = default;
  CollectionSink(const CollectionSink&) = delete;
  CollectionSink& operator=(const CollectionSink&) = delete;
  virtual ~CollectionSink() = default;

  /// A list: its beginning, its items page by page, and its end. A list without an end does not count.
  virtual void listBegins() = 0;
  virtual void listed(boost::json::array items) = 0;
  virtual void listEnds() = 0;
  /// An error skips this object: everything is listed again once the watch has ended.
  virtual Result<> changed(boost::json::object object) = 0;
  virtual Result<> gone(boost::json::object object) = 0;
};

class ListWatch {
 public:
  struct Collection {
    std::string target;      // "/api/v1/pods?fieldSelector=...": other parameters are appended
    std::string what;        // "pods"
    std::string listKind;    // "PodList"
    std::string listAccept;  // the Accept header
    std::string watchAccept;
  };

  ListWatch(const boost::asio::any_io_executor& executor, AccessSource access, Collection collection,
            CollectionSink& sink, StateKeeper state, AnswerLimits limits = {});

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

  /// A list in progress.
  struct Pages {
    std::size_t limit;    // objects in the next one
    std::string more;     // the token of the next one; empty: it is the first
    std::string version;  // of the latest one
  };

  boost::asio::awaitable<Result<Connection>> connect();
  boost::asio::awaitable<Step> list();
  boost::asio::awaitable<Step> listPage(std::optional<Connection>& connection, Pages& pages);
  Step takePage(const std::string& body, Pages& pages);
  void listDone(Pages pages);
  boost::asio::awaitable<Step> watch();
  boost::asio::awaitable<Step> follow(Connection& connection, Stamp deadline);
  boost::asio::awaitable<Step> endOfWatch(Step end, std::chrono::nanoseconds lasted);
  Step take(const std::string& line);
  void missed(const Error& error, Outcome outcome);
  boost::asio::awaitable<void> recover(Trouble trouble);
  static Trouble failed(const Error& error);
  Step refused(const Answer& answer, const char* verb);
  [[nodiscard]] std::string target(const std::string& parameters) const;
  [[nodiscard]] std::string listTarget(const Pages& pages) const;

  const Clock& clock_;
  AccessSource access_;
  Collection collection_;
  CollectionSink& sink_;
  StateKeeper state_;
  AnswerLimits limits_;
  Backoff backoff_;
  Jitter jitter_;
  std::string version_;      // everything up to it is known; empty: nothing is
  bool synced_ = false;      // a watch can continue from version_
  bool fromEtcd_ = false;    // the watch cache could not answer
  bool missed_ = false;      // this watch reported a change that could not be used
  bool goneBefore_ = false;  // the latest list's version had expired before a watch returned anything
};

}  // namespace fallbackd::kube
