// SPDX-License-Identifier: Apache-2.0
// Stand-ins under the test's control: in the role of kubelet, the test asks them to end.
#pragma once

#include "base/async/event.hpp"
#include "base/async/pause.hpp"
#include "standin/stand_ins.hpp"

#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>

namespace fallbackd::test {

struct FakeStandInState {
  explicit FakeStandInState(boost::asio::io_context& loop) : signalled(loop.get_executor()) {}
  void send(int number) {
    signals.push_back(number);
    signalled.notify();
  }
  standin::Request request;
  std::string id;
  Event signalled;
  std::vector<int> signals;
  std::optional<int> exitCode;
  std::chrono::nanoseconds exitTakes{};
  bool outOfMemory = false;
  bool removed = false;
};

class FakeStandIn final : public standin::StandIn {
 public:
  explicit FakeStandIn(std::shared_ptr<FakeStandInState> state) : state_(std::move(state)) {}
  [[nodiscard]] const std::string& containerId() const override { return state_->id; }
  [[nodiscard]] const standin::Times& times() const override { return times_; }
  boost::asio::awaitable<int> signalled() override {
    const auto state = state_;
    while (state->signals.empty()) co_await state->signalled.wait();
    co_return state->signals.front();
  }
  boost::asio::awaitable<void> outOfMemory() override {
    if (!state_->exitCode) state_->outOfMemory = true;
    co_return;
  }
  boost::asio::awaitable<void> exit(int code) override {
    const auto state = state_;
    if (state->exitTakes.count() != 0) co_await pauseFor(state->exitTakes);
    if (!state->exitCode) state->exitCode = code;
  }

 private:
  std::shared_ptr<FakeStandInState> state_;
  standin::Times times_;
};

class FakeStandIns final : public standin::StandIns {
 public:
  explicit FakeStandIns(boost::asio::io_context& loop) : loop_(loop) {}

  boost::asio::awaitable<Result<std::unique_ptr<standin::StandIn>>> make(standin::Request request) override {
    ++attempts;
    if (hangs) co_await untilCancelled();
    if (call != nullptr) {
      co_await boost::asio::this_coro::reset_cancellation_state(boost::asio::disable_cancellation());
      co_await call->wait();
    }
    if (refusal) co_return tl::unexpected<Error>(*refusal);
    co_return begin(std::move(request));
  }
  boost::asio::awaitable<Result<std::unique_ptr<standin::StandIn>>> find(std::string recoveryId) override {
    ++searches;
    if (silent) co_return fail(Stage::containerd, Reason::unavailable, "down");
    if (!earlier) co_return nullptr;
    standin::Request request;
    request.recoveryId = recoveryId;
    co_return begin(std::move(request));
  }
  boost::asio::awaitable<Result<>> removeAll(std::string, std::string, standin::Fallback fallback) override {
    if (silent) co_return fail(Stage::containerd, Reason::unavailable, "down");
    if (halfRemovals > 0) {
      --halfRemovals;
      for (const auto& one : made) one->send(SIGTERM);
      co_return fail(Stage::containerd, Reason::protocol, "stopped, but not removed");
    }
    ++removals;
    if (removalTakes.count() != 0) co_await pauseFor(removalTakes);
    for (const auto& one : made) one->removed = true;
    removedFrom = fallback;
    co_return Result<>{};
  }
  boost::asio::awaitable<Result<std::size_t>> removeOthers(
      std::function<bool(const std::string& recoveryId)> isKept) override {
    ++sweeps;
    if (silent) co_return fail(Stage::containerd, Reason::unavailable, "down");
    std::size_t count = 0;
    for (const auto& id : others) {
      if (!isKept(id)) ++count;
    }
    swept += count;
    co_return count;
  }

  std::vector<std::shared_ptr<FakeStandInState>> made;
  std::optional<Error> refusal;
  std::vector<std::string> others;  // recoveries of stand-ins in the runtime
  bool earlier = false;             // a stand-in of an earlier daemon runs
  bool silent = false;
  bool hangs = false;     // make() ends only if it is cancelled
  Event* call = nullptr;  // make() completes once this is set, even if it was cancelled
  int halfRemovals = 0;   // how many removals stop it and then fail
  int removals = 0;
  std::chrono::nanoseconds removalTakes{};
  std::optional<standin::Fallback> removedFrom;  // by the latest removal
  int attempts = 0;
  int searches = 0;
  int sweeps = 0;
  std::size_t swept = 0;

 private:
  std::unique_ptr<standin::StandIn> begin(standin::Request request) {
    auto state = std::make_shared<FakeStandInState>(loop_);
    state->request = std::move(request);
    state->id = "stand-in-" + std::to_string(made.size());
    made.push_back(state);
    return std::make_unique<FakeStandIn>(state);
  }

  boost::asio::io_context& loop_;
};

}  // namespace fallbackd::test
