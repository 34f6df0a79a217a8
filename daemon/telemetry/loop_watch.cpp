// SPDX-License-Identifier: Apache-2.0
#include "telemetry/loop_watch.hpp"

#include "telemetry/stack.hpp"

#include <utility>

#include <boost/asio/post.hpp>

namespace fallbackd::telemetry {

namespace asio = boost::asio;

LoopWatch::LoopWatch(asio::any_io_executor loop, pid_t thread, std::chrono::milliseconds limit, Tell tell)
    : loop_(std::move(loop)),
      looping_(thread),
      limit_(limit),
      tell_(std::move(tell)),
      answers_(std::make_shared<Answers>()) {
  prepareStacks();
  thread_ = std::thread([this] { watch(); });
}

LoopWatch::~LoopWatch() {
  {
    const std::lock_guard lock(answers_->mutex);
    answers_->ends = true;
  }
  answers_->changed.notify_all();
  thread_.join();
}

std::optional<Monotonic::duration> LoopWatch::stalled() const {
  const auto since = stalledSince_.load();
  if (since == 0) return std::nullopt;
  return Clock::system().now() - Stamp(Monotonic::duration(since));
}

void LoopWatch::watch() {
  std::unique_lock lock(answers_->mutex);
  for (std::uint64_t question = 1; !answers_->ends; ++question) {
    const auto asked = Clock::system().now();
    asio::post(loop_, [answers = answers_, question] {
      const std::lock_guard held(answers->mutex);
      answers->answered = question;
      answers->changed.notify_all();
    });
    const auto answered = [&] { return answers_->ends || answers_->answered == question; };
    if (!answers_->changed.wait_for(lock, limit_, answered)) {
      lock.unlock();
      stalledSince_ = asked.time_since_epoch().count();
      auto stack = stackOf(looping_);
      tell_({false, Clock::system().now() - asked, std::move(stack)});
      lock.lock();
      answers_->changed.wait(lock, answered);
      stalledSince_ = 0;
      const bool ends = answers_->ends;
      lock.unlock();
      if (!ends) tell_({true, Clock::system().now() - asked, {}});
      lock.lock();
    }
    answers_->changed.wait_for(lock, limit_ / 2, [&] { return answers_->ends; });
  }
}

}  // namespace fallbackd::telemetry
