// SPDX-License-Identifier: Apache-2.0
#include "http/event_feed.hpp"

#include "base/async/pause.hpp"

namespace fallbackd::http {

namespace asio = boost::asio;

EventFeed::Listener::Listener(EventFeed& feed) : feed_(feed), seen_(feed.version_) {
  // A text left from earlier listeners may be old: the first listener waits for a fresh one.
  if (feed.listeners_ > 0 && feed.latest_ != nullptr) --seen_;
  if (feed.listeners_++ == 0) {
    feed.latest_.reset();
    feed.wanted_.notify();
  }
}

asio::awaitable<EventFeed::Text> EventFeed::Listener::next(std::chrono::milliseconds limit) {
  const auto deadline = LoopClock::of(feed_.changed_.executor()).now() + limit;
  while (seen_ == feed_.version_) {
    const bool changed = co_await feed_.changed_.waitUntil(deadline);
    if (!changed) co_return nullptr;
  }
  seen_ = feed_.version_;
  co_return feed_.latest_;
}

asio::awaitable<void> EventFeed::run() {
  for (;;) {
    while (listeners_ == 0) co_await wanted_.wait();
    auto text = co_await produce_();
    if (text && (latest_ == nullptr || *text != *latest_)) {
      latest_ = std::make_shared<const std::string>(std::move(*text));
      ++version_;
      changed_.notify();
    }
    co_await pauseFor(interval_);
  }
}

}  // namespace fallbackd::http
