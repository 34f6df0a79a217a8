// SPDX-License-Identifier: Apache-2.0
// The clock of a test's loop: time passes only when the test advances it, or when the loop has nothing else
// to do.
#pragma once

#include "base/async/loop_clock.hpp"

#include <chrono>
#include <map>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fallbackd::test {

class FakeClock final : public LoopClock {
 public:
  /// Call it before anything on the loop waits or reads the time. The loop owns it.
  static FakeClock& install(boost::asio::io_context& loop) {
    auto clock = std::make_shared<FakeClock>();
    LoopClock::install(loop, clock);
    return *clock;
  }
  /// Null if the loop uses the system's clock.
  static FakeClock* of(boost::asio::io_context& loop) {
    return dynamic_cast<FakeClock*>(&LoopClock::of(loop.get_executor()));
  }

  [[nodiscard]] Stamp now() const override { return now_; }
  [[nodiscard]] Wall::time_point wall() const override { return wall_; }
  void sleep(std::chrono::nanoseconds length) const override {
    now_ += length;
    wall_ += length;
  }

  /// Runs everything that the loop can do now, then lets `length` pass, deadline by deadline.
  void advance(boost::asio::io_context& loop, std::chrono::nanoseconds length) {
    const auto end = now_ + length;
    settle(loop);
    while (!deadlines_.empty() && earliest() <= end) {
      moveTo(earliest());
      settle(loop);
    }
    moveTo(end);
    settle(loop);
  }
  /// Advances to the next pending deadline, but not beyond `limit`. False if there is none.
  bool advanceToNext(Stamp limit = Stamp::max()) {
    if (deadlines_.empty() || earliest() > limit) return false;
    moveTo(earliest());
    return true;
  }

  void arm(boost::asio::steady_timer& timer, Stamp deadline) override {
    disarm(timer);
    timer.expires_at(deadline <= now_ ? Stamp() : Stamp::max());
    if (deadline <= now_ || deadline == Stamp::max()) return;
    deadlines_.emplace(deadline, &timer);
  }
  void disarm(boost::asio::steady_timer& timer) override {
    std::erase_if(deadlines_, [&](const auto& one) { return one.second == &timer; });
  }

 private:
  static void settle(boost::asio::io_context& loop) {
    loop.restart();
    loop.poll();
  }
  [[nodiscard]] Stamp earliest() const { return deadlines_.begin()->first; }
  /// Time never moves back: a sleep() lets deadlines pass unnoticed, as on a loop that did not run.
  void moveTo(Stamp when) {
    if (when > now_) {
      wall_ += when - now_;
      now_ = when;
    }
    while (!deadlines_.empty() && earliest() <= now_) {
      auto* timer = deadlines_.begin()->second;
      disarm(*timer);
      timer->cancel();
    }
  }

  // Close to the system's clock, because files and processes have its time stamps.
  mutable Stamp now_ = Clock::system().now();
  mutable Wall::time_point wall_ = Clock::system().wall();
  std::multimap<Stamp, boost::asio::steady_timer*> deadlines_;
};

}  // namespace fallbackd::test
