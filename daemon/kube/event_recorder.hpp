// SPDX-License-Identifier: Apache-2.0
// Writes Kubernetes Events. Whatever the API server does, nothing waits for it: an Event that cannot be
// written is tried again after longer and longer pauses, and in the end dropped and counted.
//
// Thread: the executor's. Cancellation: run() ends when it is cancelled.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/async/jitter.hpp"
#include "kube/access.hpp"
#include "kube/connection.hpp"
#include "kube/event_queue.hpp"
#include "kube/outcome.hpp"
#include "kube/source.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

struct EventState {
  Health health = Health::waiting;
  Wall::time_point since;             // of `health`
  std::string error;                  // the latest; kept after a success, until the next one
  Outcome outcome = Outcome::ok;      // of the latest request
  std::set<std::string> forbiddenIn;  // namespaces where create is not granted, the first few
  std::size_t waiting = 0;            // Events that have not been written
  std::array<std::uint64_t, kEventResults> results{};
};

class EventRecorder {
 public:
  static constexpr std::size_t kMaxForbiddenShown = 16;

  /// `tell` is called at each change.
  EventRecorder(const boost::asio::any_io_executor& executor, AccessSource access, std::string nodeName,
                std::function<void(EventState)> tell);

  void add(EventNote note);
  /// Counts notes that were dropped before they came here.
  void lost(std::uint64_t notes);
  boost::asio::awaitable<void> run();

 private:
  using Pause = std::optional<std::chrono::nanoseconds>;

  boost::asio::awaitable<Pause> write(OutgoingEvent event);
  boost::asio::awaitable<Result<Answer>> ask(OutgoingEvent event);
  Pause answered(OutgoingEvent event, const Answer& answer);
  void forbidden(OutgoingEvent event, const Answer& answer);
  void drop(const OutgoingEvent& event, const Answer& answer);
  void tryAgain(OutgoingEvent event, const Answer& answer);
  Pause failed(OutgoingEvent event, std::string error, Outcome outcome,
               std::optional<std::chrono::seconds> retryAfter);
  void become(Health health, Outcome outcome);
  void reportState();
  std::string newName(const std::string& pod);

  const Clock& clock_;
  AccessSource access_;
  std::string nodeName_;
  std::function<void(EventState)> tell_;
  EventQueue queue_;
  EventState state_;
  Event wake_;
  Backoff backoff_;
  Jitter jitter_;
  std::optional<Connection> connection_;
  std::uint64_t number_ = 0;  // of the latest name
};

}  // namespace fallbackd::kube
