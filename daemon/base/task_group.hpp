// SPDX-License-Identifier: Apache-2.0
// Coroutines with an owner: every spawned task can be cancelled, and the owner can wait for all of them. Used
// on one io_context thread.
#pragma once

#include "base/async/event.hpp"

#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/multiple_exceptions.hpp>
#include <boost/system/system_error.hpp>

namespace fallbackd {

class TaskGroup {
 public:
  using Id = std::uint64_t;

  explicit TaskGroup(boost::asio::any_io_executor executor)
      : state_(std::make_shared<State>(std::move(executor))) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() { cancelAll(); }

  /// Starts the task: at once, if called on the loop. Its exceptions, except cancellation, reach run().
  Id spawn(boost::asio::awaitable<void> task) {
    const Id id = state_->nextId++;
    auto signal = std::make_shared<boost::asio::cancellation_signal>();
    state_->running.emplace(id, signal);
    boost::asio::co_spawn(state_->executor, std::move(task),
                          boost::asio::bind_cancellation_slot(
                              signal->slot(), [state = state_, signal, id](std::exception_ptr error) {
                                state->ended(id, error);
                              }));
    return id;
  }

  void cancel(Id id) {
    const auto found = state_->running.find(id);
    if (found == state_->running.end()) return;
    cancelTask(found->second);
  }

  void cancelAll() {
    const auto running = state_->running;
    for (const auto& [id, signal] : running) cancelTask(signal);
  }

  [[nodiscard]] bool empty() const { return state_->running.empty(); }

  /// Waits until no task is left.
  boost::asio::awaitable<void> drained() {
    const auto state = state_;
    while (!state->running.empty()) co_await state->idle.wait();
  }

 private:
  using Signal = std::shared_ptr<boost::asio::cancellation_signal>;

  /// Posted to the loop with the signal kept alive: the task may end, and be erased, before or during this.
  void cancelTask(const Signal& signal) {
    boost::asio::dispatch(state_->executor,
                          [signal] { signal->emit(boost::asio::cancellation_type::terminal); });
  }

  struct State {
    explicit State(boost::asio::any_io_executor owner) : executor(std::move(owner)), idle(executor) {}

    void ended(Id id, std::exception_ptr error) {
      running.erase(id);
      if (running.empty()) idle.notify();
      if (error != nullptr && !isCancellation(error)) std::rethrow_exception(error);
    }

    static bool isCancellation(const std::exception_ptr& error) {
      try {
        std::rethrow_exception(error);
      } catch (const boost::asio::multiple_exceptions& both) {
        // Both sides of an `a || b` were cancelled.
        return isCancellation(both.first_exception());
      } catch (const boost::system::system_error& failure) {
        return failure.code() == boost::asio::error::operation_aborted;
      } catch (...) {
        return false;
      }
    }

    boost::asio::any_io_executor executor;
    Event idle;  // when the last task has ended
    std::map<Id, Signal> running;
    Id nextId = 1;
  };

  std::shared_ptr<State> state_;
};

}  // namespace fallbackd
