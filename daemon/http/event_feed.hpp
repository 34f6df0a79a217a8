// SPDX-License-Identifier: Apache-2.0
// A text that changes, for all listeners: produced repeatedly while there are any, sent when it differs. One
// io_context thread.
#pragma once

#include "base/async/event.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::http {

class EventFeed {
 public:
  using Text = std::shared_ptr<const std::string>;
  /// One line. Empty if it is not available now.
  using Produce = std::function<boost::asio::awaitable<std::optional<std::string>>()>;

  EventFeed(const boost::asio::any_io_executor& executor, Produce produce, std::chrono::milliseconds interval)
      : produce_(std::move(produce)), interval_(interval), wanted_(executor), changed_(executor) {}

  /// Produces the text while there are listeners. Runs until cancelled.
  boost::asio::awaitable<void> run();

  /// A listener; the feed outlives it.
  class Listener {
   public:
    explicit Listener(EventFeed& feed);
    ~Listener() { --feed_.listeners_; }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    /// The next text that this listener has not seen; null if none came within the limit.
    boost::asio::awaitable<Text> next(std::chrono::milliseconds limit);

   private:
    EventFeed& feed_;
    std::uint64_t seen_;
  };

 private:
  Produce produce_;
  std::chrono::milliseconds interval_;
  Event wanted_;   // the first listener came
  Event changed_;  // there is a new text
  std::size_t listeners_ = 0;
  std::uint64_t version_ = 0;
  Text latest_;
};

}  // namespace fallbackd::http
