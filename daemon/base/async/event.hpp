// SPDX-License-Identifier: Apache-2.0
// An event that coroutines wait for.
//
//   Event ready(executor);
//   co_await ready.wait();                              // until somebody calls ready.set()
//   const bool inTime = co_await ready.waitFor(2s);
//
// set() is for what happens once. notify() is for what happens repeatedly and is visible elsewhere: each
// waiter checks whether its condition holds, and waits again if not.
//
// Thread: the executor's, for every call; nothing is locked. Cancellation: a cancelled wait throws
// operation_aborted; the event and its other waiters do not notice. Ownership: the owner may destroy the
// event at any time: its waiters then throw operation_aborted. Waiters are woken in the order of arrival, at
// the next turn of the loop.
#pragma once

#include "base/async/timer.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace fallbackd {

class Event {
 public:
  explicit Event(boost::asio::any_io_executor executor)
      : state_(std::make_shared<State>(std::move(executor))) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() {
    state_->gone = true;
    state_->wakeAll();
  }

  /// Wakes all waiters; until reset(), later waits return at once.
  void set() {
    state_->set = true;
    state_->wakeAll();
  }
  void reset() { state_->set = false; }
  [[nodiscard]] bool isSet() const { return state_->set; }

  /// Wakes only those that are waiting at this moment.
  void notify() { state_->wakeAll(); }

  boost::asio::awaitable<void> wait() { return waitOn(state_); }
  /// False if the deadline came first.
  boost::asio::awaitable<bool> waitUntil(Stamp deadline) { return waitOn(state_, deadline); }
  boost::asio::awaitable<bool> waitFor(std::chrono::nanoseconds limit) {
    return waitUntil(later(LoopClock::of(state_->executor).now(), limit));
  }

  [[nodiscard]] const boost::asio::any_io_executor& executor() const { return state_->executor; }

 private:
  struct State {
    explicit State(boost::asio::any_io_executor owner) : executor(std::move(owner)) {}
    void wakeAll() const {
      for (auto* waiter : waiters) waiter->wake();
    }
    boost::asio::any_io_executor executor;
    std::vector<Timer*> waiters;
    bool set = false;
    bool gone = false;
  };

  /// In the frame of the waiting coroutine, which may be destroyed while it waits.
  class Waiter {
   public:
    explicit Waiter(std::shared_ptr<State> state) : state_(std::move(state)), timer_(state_->executor) {
      state_->waiters.push_back(&timer_);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() { std::erase(state_->waiters, &timer_); }
    boost::asio::awaitable<Timer::End> wait(Stamp deadline) { return timer_.wait(deadline); }

   private:
    std::shared_ptr<State> state_;
    Timer timer_;
  };

  static boost::asio::awaitable<bool> waitOn(std::shared_ptr<State> state, Stamp deadline) {
    if (state->set) co_return true;
    Waiter waiter(state);
    const auto end = co_await waiter.wait(deadline);
    if (state->gone) throw boost::system::system_error(boost::asio::error::operation_aborted);
    co_return end == Timer::End::woken || state->set;
  }
  static boost::asio::awaitable<void> waitOn(std::shared_ptr<State> state) {
    co_await waitOn(std::move(state), Stamp::max());
  }

  std::shared_ptr<State> state_;
};

}  // namespace fallbackd
