// SPDX-License-Identifier: Apache-2.0
#include "telemetry/event_feed.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::telemetry {

namespace asio = boost::asio;

EventFeed::Listener::Listener(EventFeed& feed) : feed_(feed), seen_(feed.version_) {
  // A text left from earlier listeners may be old: the first listener waits for a fresh one.
  if (feed.listeners_ > 0 && feed.latest_ != nullptr) --seen_;
  if (feed.listeners_++ == 0) {
    feed.latest_.reset();
    feed.wanted_.cancel();
  }
}

asio::awaitable<EventFeed::Text> EventFeed::Listener::next(std::chrono::milliseconds limit) {
  const auto deadline = asio::steady_timer::clock_type::now() + limit;
  asio::steady_timer late(feed_.changed_.get_executor());
  while (seen_ == feed_.version_) {
    if (asio::steady_timer::clock_type::now() >= deadline) co_return nullptr;
    // One timer wakes all; a listener that is woken too early by another's limit checks again.
    late.expires_at(deadline);
    late.async_wait([&changed = feed_.changed_](boost::system::error_code error) {
      if (!error) changed.cancel();
    });
    boost::system::error_code ignored;
    co_await feed_.changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  seen_ = feed_.version_;
  co_return feed_.latest_;
}

asio::awaitable<void> EventFeed::run() {
  asio::steady_timer pause(wanted_.get_executor());
  for (;;) {
    while (listeners_ == 0) {
      boost::system::error_code ignored;
      co_await wanted_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    auto text = co_await produce_();
    if (text && (latest_ == nullptr || *text != *latest_)) {
      latest_ = std::make_shared<const std::string>(std::move(*text));
      ++version_;
      changed_.cancel();
    }
    pause.expires_after(interval_);
    co_await pause.async_wait(asio::use_awaitable);
  }
}

}  // namespace fallbackd::telemetry
