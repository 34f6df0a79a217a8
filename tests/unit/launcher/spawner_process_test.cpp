// SPDX-License-Identifier: Apache-2.0
// How a spawner is replaced that dies or cannot be started. The program in this test exits at once.
#include "launcher/spawner_process.hpp"

#include "few_descriptors.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/wait.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;

struct SpawnerProcessTest : testing::Test {
  SpawnerProcessTest() { install(); }
  void install() const { std::filesystem::copy("/bin/true", program); }
  void uninstall() const { std::filesystem::remove(program); }

  /// Ends and restarts the spawner `times` times; returns how long that took.
  std::chrono::nanoseconds restart(int times) {
    const auto begin = clock.now();
    int done = 0;
    asio::co_spawn(
        loop,
        [&]() -> asio::awaitable<void> {
          for (; done < times; ++done) {
            spawner.end();
            co_await spawner.restart();
          }
        },
        [](std::exception_ptr error) {
          if (error) std::rethrow_exception(error);
        });
    EXPECT_TRUE(test::runUntil(loop, [&] { return done == times; }));
    return clock.now() - begin;
  }

  test::TempFolder folder;
  std::string program = folder.path() + "/spawner";
  asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  SpawnerProcess spawner{loop.get_executor(), program};
};

TEST_F(SpawnerProcessTest, OneThatLivedIsReplacedAtOnce) {
  ASSERT_TRUE(spawner.start());
  clock.advance(loop, 1min);
  EXPECT_LT(restart(1), 100ms);
  EXPECT_EQ(spawner.restarts(), 1U);
}

/// Without descriptors or memory, a thousand attempts a second would make matters worse.
TEST_F(SpawnerProcessTest, StartsThatFailAreTriedAtGrowingPauses) {
  ASSERT_TRUE(spawner.start());
  clock.advance(loop, 1min);
  uninstall();
  EXPECT_GT(restart(14), 3s);
  EXPECT_EQ(spawner.restarts(), 0U) << "no spawner was replaced yet";
  install();
  EXPECT_LE(restart(1), 1s);
  EXPECT_EQ(spawner.restarts(), 1U);
}

TEST_F(SpawnerProcessTest, StartsThatFailWakeNobody) {
  uninstall();
  bool awaited = false;
  asio::co_spawn(loop, spawner.awaitStarted(), [&](std::exception_ptr) { awaited = true; });
  restart(5);
  EXPECT_FALSE(awaited) << "no spawner runs";
  install();
  restart(1);
  EXPECT_TRUE(test::runUntil(loop, [&] { return awaited; }));
  EXPECT_TRUE(spawner.socket());
}

TEST_F(SpawnerProcessTest, TheWaitForItIsLimited) {
  uninstall();
  const auto begin = clock.now();
  bool awaited = false;
  asio::co_spawn(loop, spawner.awaitStarted(), [&](std::exception_ptr) { awaited = true; });
  EXPECT_TRUE(test::runUntil(loop, [&] { return awaited; }));
  EXPECT_EQ(clock.now() - begin, kRespawnLimit);
}

/// The spawner's socket takes the last two descriptors.
TEST_F(SpawnerProcessTest, OneThatCannotBeHeldIsEnded) {
  {
    const test::FewDescriptors few(2);
    EXPECT_FALSE(spawner.start());
  }
  EXPECT_FALSE(spawner.socket());
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child process is left";
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace fallbackd::launcher
