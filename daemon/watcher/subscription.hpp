// SPDX-License-Identifier: Apache-2.0
// Follows containerd: its event stream, and lists at intervals in case an event was missed. Subscribes again,
// with back-off, when the stream or a list fails. Promises that nothing is lost between events and lists. One
// io_context thread.
#pragma once

#include "base/async/jitter.hpp"
#include "base/clock.hpp"
#include "cri/runtime.hpp"

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

/// All sandboxes and containers.
struct Lists {
  Stamp asked;  // what appeared since then need not be in them
  std::vector<cri::Container> containers;
  std::vector<cri::Sandbox> sandboxes;
  /// Only with the first lists of a connection: ids that containerd has stored and CRI does not list. Their
  /// events may have come before the subscription.
  std::optional<std::set<std::string>> beingMade = {};
  std::optional<Error> storeSilent = {};  // or why that is not known
};

/// Gets one call at a time from one stream of events; lists may come between them, even while an event is
/// being handled.
class Subscriber {
 public:
  virtual ~Subscriber() = default;
  virtual cri::Awaitable<void> listed(Lists lists) = 0;
  virtual cri::Awaitable<void> happened(cri::Event event) = 0;
  /// The stream is up and the first lists were handled (true), or it was lost (false, with the reason).
  virtual void connection(bool up, const std::string& why) = 0;
};

class Subscription {
 public:
  Subscription(boost::asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
               Subscriber& subscriber, std::chrono::nanoseconds resyncInterval);

  /// Until cancelled.
  cri::Awaitable<void> run();

  /// Takes effect after the next list.
  void resyncEvery(std::chrono::nanoseconds interval) { resyncInterval_ = interval; }

 private:
  cri::Awaitable<Result<>> follow();
  cri::Awaitable<Error> followEvents(cri::EventStream& stream);
  cri::Awaitable<Result<Lists>> takeLists();
  cri::Awaitable<Result<Lists>> takeFirstLists();
  cri::Awaitable<Result<>> resync();
  cri::Awaitable<void> resyncRegularly();

  const Clock& clock_;
  cri::Runtime& runtime_;
  cri::EventSource& events_;
  Subscriber& subscriber_;
  std::chrono::nanoseconds resyncInterval_;
  Jitter jittered_;
};

}  // namespace fallbackd::watcher
