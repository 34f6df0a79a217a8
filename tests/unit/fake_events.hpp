// SPDX-License-Identifier: Apache-2.0
// A container runtime's events under the test's control. Passes tests/contract.
#pragma once

#include "base/async/event.hpp"
#include "cri/runtime.hpp"

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>

namespace fallbackd::test {

class FakeEvents final : public cri::EventSource {
 public:
  explicit FakeEvents(boost::asio::io_context& loop) : executor_(loop.get_executor()) {}

  cri::Awaitable<Result<std::unique_ptr<cri::EventStream>>> subscribe() override {
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    ++subscriptions;
    co_return std::unique_ptr<cri::EventStream>(std::make_unique<Stream>(*this));
  }
  /// Sends to the current subscribers.
  void send(cri::Event::Kind kind, const std::string& id, int exitCode = 0) {
    const cri::Event event{kind, id, LoopClock::of(executor_).now(), exitCode};
    for (auto* stream : streams_) stream->receive(event);
  }
  void breakStream() {
    for (auto* stream : streams_) stream->end();
  }

  int subscriptions = 0;
  bool down = false;

 private:
  class Stream final : public cri::EventStream {
   public:
    explicit Stream(FakeEvents& owner) : owner_(owner), changed_(owner.executor_) {
      owner_.streams_.insert(this);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() override { owner_.streams_.erase(this); }

    cri::Awaitable<Result<cri::Event>> next() override {
      while (queue_.empty()) {
        if (ended_) co_return fail(Stage::containerd, Reason::unavailable, "stream broke");
        co_await changed_.wait();
      }
      auto event = std::move(queue_.front());
      queue_.pop_front();
      co_return event;
    }
    void receive(const cri::Event& event) {
      if (ended_) return;
      queue_.push_back(event);
      changed_.notify();
    }
    void end() {
      ended_ = true;
      changed_.notify();
    }

   private:
    FakeEvents& owner_;
    Event changed_;
    std::deque<cri::Event> queue_;
    bool ended_ = false;
  };

  boost::asio::any_io_executor executor_;
  std::set<Stream*> streams_;
};

}  // namespace fallbackd::test
