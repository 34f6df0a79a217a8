// SPDX-License-Identifier: Apache-2.0
#include "base/task_group.hpp"

#include <chrono>
#include <optional>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

asio::awaitable<void> waitThenCount(int& ended) {
  struct Count {
    int& ended;
    ~Count() { ++ended; }
  } const count{ended};
  asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
  co_await timer.async_wait(asio::use_awaitable);
}

TEST(TaskGroup, SpawnedOutsideTheLoopAndDestroyedBeforeItRuns) {
  asio::io_context loop{1};
  int ended = 0;
  std::optional<TaskGroup> group(loop.get_executor());
  for (int i = 0; i < 20; ++i) group->spawn(waitThenCount(ended));
  loop.poll();
  group->cancelAll();
  group->cancelAll();
  group.reset();
  loop.restart();
  loop.poll();
  EXPECT_EQ(ended, 20);
}

TEST(TaskGroup, ATaskIsCancelledWithinAnother) {
  asio::io_context loop{1};
  int ended = 0;
  TaskGroup group(loop.get_executor());
  const auto id = group.spawn(waitThenCount(ended));
  const auto other = group.spawn(waitThenCount(ended));
  loop.poll();
  asio::post(loop, [&] {
    group.cancel(id);
    group.cancel(id);
  });
  loop.restart();
  loop.poll();
  EXPECT_EQ(ended, 1);
  EXPECT_FALSE(group.empty());
  group.cancel(other);
  loop.restart();
  loop.poll();
  EXPECT_TRUE(group.empty());
}

}  // namespace
}  // namespace fallbackd
