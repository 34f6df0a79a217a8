// SPDX-License-Identifier: Apache-2.0
#include "telemetry/loop_watch.hpp"

#include "telemetry/stack.hpp"

#include <atomic>
#include <future>
#include <thread>
#include <unistd.h>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gmock/gmock.h>

namespace fallbackd::telemetry {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using testing::HasSubstr;

/// A loop on its own thread.
class Loop {
 public:
  Loop() : thread_([this] { loop_.run(); }) {
    std::promise<pid_t> told;
    asio::post(loop_, [&] { told.set_value(::gettid()); });
    number_ = told.get_future().get();
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() {
    work_.reset();
    thread_.join();
  }
  [[nodiscard]] pid_t thread() const { return number_; }
  asio::io_context::executor_type executor() { return loop_.get_executor(); }

 private:
  asio::io_context loop_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(loop_);
  std::thread thread_;
  pid_t number_ = 0;
};

TEST(LoopWatch, ReportsOnceWithAStackAndAgainAtTheEnd) {
  std::promise<LoopWatch::Stall> begins;
  std::promise<LoopWatch::Stall> ends;
  int told = 0;
  Loop loop;
  // Keeps only the first report of each kind: on a busy machine the loop may stall again by itself.
  const LoopWatch watch(loop.executor(), loop.thread(), 200ms, [&](const LoopWatch::Stall& stall) {
    ++told;
    if (told == 1) begins.set_value(stall);
    if (told == 2) ends.set_value(stall);
  });
  EXPECT_FALSE(watch.stalled());
  std::promise<void> release;
  asio::post(loop.executor(), [held = release.get_future().share()] { held.wait(); });
  const auto begun = begins.get_future().get();
  EXPECT_FALSE(begun.over);
  EXPECT_GE(begun.length, 200ms);
  EXPECT_THAT(begun.stack, HasSubstr("program: "));
  EXPECT_THAT(begun.stack, HasSubstr("system call: ")) << begun.stack;
  ASSERT_TRUE(watch.stalled());
  EXPECT_GE(*watch.stalled(), 200ms);
  release.set_value();
  const auto over = ends.get_future().get();
  EXPECT_TRUE(over.over) << "a stall is reported once";
  EXPECT_GE(over.length, begun.length);
  EXPECT_FALSE(watch.stalled());
}

TEST(LoopWatch, EndsWhileTheLoopHangs) {
  std::promise<void> begins;
  std::promise<void> release;
  Loop loop;
  {
    bool told = false;
    const LoopWatch watch(loop.executor(), loop.thread(), 20ms, [&](const LoopWatch::Stall&) {
      if (!std::exchange(told, true)) begins.set_value();
    });
    asio::post(loop.executor(), [held = release.get_future().share()] { held.wait(); });
    begins.get_future().wait();
  }
  release.set_value();
}

TEST(Stack, OfAComputingThread) {
  prepareStacks();
  std::promise<pid_t> thread;
  std::atomic<bool> ends{false};
  std::thread busy([&] {
    thread.set_value(::gettid());
    while (!ends) {
    }
  });
  const auto stack = stackOf(thread.get_future().get());
  ends = true;
  busy.join();
  EXPECT_THAT(stack, HasSubstr("program: "));
  EXPECT_THAT(stack, HasSubstr("libc.so")) << "the thread's start function";
}

TEST(Stack, OfAMissingThread) {
  prepareStacks();
  EXPECT_THAT(stackOf(999'999'999), HasSubstr("no such thread"));
}

}  // namespace
}  // namespace fallbackd::telemetry
