// SPDX-License-Identifier: Apache-2.0
// Waits for a place in a FairQueue. Used on one io_context thread.
#pragma once

#include "base/async/event.hpp"
#include "base/fair_queue.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd {

class FairGate {
  struct State;

 public:
  /// Held while its owner has a place; its destruction lets the next waiter in. May outlive the gate.
  class Place {
   public:
    Place() = default;
    Place(std::shared_ptr<State> state, FairQueue::Ticket ticket)
        : state_(std::move(state)), ticket_(ticket) {}
    Place(Place&& other) noexcept : state_(std::move(other.state_)), ticket_(other.ticket_) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(ticket_, other.ticket_);
      return *this;
    }
    ~Place() {
      if (state_ != nullptr) state_->leave(ticket_);
    }
    /// False if the waiter no longer needed a place.
    explicit operator bool() const { return state_ != nullptr; }

   private:
    std::shared_ptr<State> state_;
    FairQueue::Ticket ticket_ = 0;
  };

  FairGate(boost::asio::any_io_executor executor, FairLimits limits)
      : state_(std::make_shared<State>(std::move(executor), limits)) {}

  void reconfigure(FairLimits limits) {
    state_->queue.reconfigure(limits);
    state_->letIn();
  }

  /// Waits for a place; a cancelled coroutine leaves the queue. `needless` is called before the wait and at
  /// each reconsider(): true ends the wait without a place.
  boost::asio::awaitable<Place> enter(FairGroup group, std::string resource = {},
                                      std::function<bool()> needless = nullptr) {
    if (needless && needless()) co_return Place();
    const auto state = state_;
    const auto ticket = state->queue.add(std::move(group), resource);
    Place place(state, ticket);  // also leaves the queue
    const auto waiter = std::make_shared<Waiter>(state->executor, std::move(resource));
    state->waiters.emplace(ticket, waiter);
    state->letIn();
    while (!waiter->in) {
      co_await waiter->turn.wait();
      if (!waiter->in && needless && needless()) co_return Place();
    }
    co_return std::move(place);
  }

  /// Something new is known about a resource: its waiters may no longer need a place.
  void reconsider(const std::string& resource) {
    for (const auto& [ticket, waiter] : state_->waiters) {
      if (waiter->resource == resource) waiter->turn.notify();
    }
  }

  [[nodiscard]] const FairQueue& queue() const { return state_->queue; }

 private:
  struct Waiter {
    Waiter(const boost::asio::any_io_executor& executor, std::string wanted)
        : turn(executor), resource(std::move(wanted)) {}
    Event turn;  // its turn, or new knowledge
    std::string resource;
    bool in = false;
  };
  struct State {
    State(boost::asio::any_io_executor owner, FairLimits limits)
        : executor(std::move(owner)), queue(limits) {}

    void letIn() {
      while (const auto ticket = queue.next()) {
        const auto found = waiters.find(*ticket);
        found->second->in = true;
        found->second->turn.notify();
        waiters.erase(found);
      }
    }
    void leave(FairQueue::Ticket ticket) {
      waiters.erase(ticket);
      queue.remove(ticket);
      letIn();
    }

    boost::asio::any_io_executor executor;
    FairQueue queue;
    std::map<FairQueue::Ticket, std::shared_ptr<Waiter>> waiters;
  };

  std::shared_ptr<State> state_;
};

}  // namespace fallbackd
