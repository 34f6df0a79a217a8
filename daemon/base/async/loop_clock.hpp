// SPDX-License-Identifier: Apache-2.0
// The clock of an event loop: the code on that loop reads it, and its waits follow it. It is the system's
// unless a test installed a different one, so that time can pass without real waiting.
//
// Thread: of() from any thread; arm() and disarm() from the loop's own. Cancellation: arming is not a wait,
// see Timer. Ownership: the loop's execution context owns its clock.
#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <memory>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fallbackd {

class LoopClock : public Clock {
 public:
  /// `timer` is about to be waited for: at `deadline` of this clock it expires or is cancelled.
  virtual void arm(boost::asio::steady_timer& timer, Stamp deadline) = 0;
  /// Nothing waits for the timer any more. Called before it is destroyed.
  virtual void disarm(boost::asio::steady_timer& timer) = 0;

  static LoopClock& of(const boost::asio::any_io_executor& executor);
  /// For tests: call it before any other code uses the context's clock.
  static void install(boost::asio::execution_context& context, std::shared_ptr<LoopClock> clock);

 private:
  class System;
  class Service;
};

/// Its timers expire by themselves.
class LoopClock::System final : public LoopClock {
 public:
  [[nodiscard]] Stamp now() const override { return Clock::system().now(); }
  [[nodiscard]] Wall::time_point wall() const override { return Clock::system().wall(); }
  void sleep(std::chrono::nanoseconds length) const override { Clock::system().sleep(length); }
  void arm(boost::asio::steady_timer& timer, Stamp deadline) override { timer.expires_at(deadline); }
  void disarm(boost::asio::steady_timer& timer) override { static_cast<void>(timer); }
};

class LoopClock::Service final : public boost::asio::execution_context::service {
 public:
  using key_type = Service;
  static inline boost::asio::execution_context::id id;

  explicit Service(boost::asio::execution_context& context, std::shared_ptr<LoopClock> given = nullptr)
      : service(context), clock(given != nullptr ? std::move(given) : std::make_shared<System>()) {}
  void shutdown() noexcept override {}

  std::shared_ptr<LoopClock> clock;
};

inline LoopClock& LoopClock::of(const boost::asio::any_io_executor& executor) {
  auto& context = boost::asio::query(executor, boost::asio::execution::context);
  return *boost::asio::use_service<Service>(context).clock;
}

inline void LoopClock::install(boost::asio::execution_context& context, std::shared_ptr<LoopClock> clock) {
  boost::asio::make_service<Service>(context, std::move(clock));
}

}  // namespace fallbackd
