// SPDX-License-Identifier: Apache-2.0
// The stand-in's program and the daemon's side of the signals.
#include "standin/signals.hpp"

#include "base/async/event.hpp"
#include "fake_clock.hpp"
#include "fake_runtime.hpp"
#include "stand_in_process.hpp"
#include "standin/program/program_bytes.hpp"
#include "standin/program/protocol.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <sys/wait.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

using namespace std::chrono_literals;

/// The stand-in's program as a child of the test.
class Program {
 public:
  Program() : pid_(test::spawnStandIn()) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Waits for the program's end; returns its wait status.
  int ended() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }

 private:
  pid_t pid_;
};

struct SignalsTest : testing::Test {
  Signals open() {
    auto signals = test::runToEnd(loop, Signals::of(program.pid()));
    EXPECT_TRUE(signals) << (signals ? "" : signals.error().message());
    return signals ? std::move(*signals) : Signals();
  }
  boost::asio::io_context loop;
  Program program;
};

TEST_F(SignalsTest, IsEmbeddedAsItIsBuilt) {
  const auto built = sys::readFile(Stage::cli, STAND_IN_PROGRAM, 1 << 20);
  ASSERT_TRUE(built);
  EXPECT_EQ(*built, programBytes());
}

TEST_F(SignalsTest, PassesOnSignalsAndEndsAsItIsTold) {
  auto signals = open();
  ASSERT_EQ(::kill(program.pid(), SIGTERM), 0);
  EXPECT_EQ(test::runToEnd(loop, signals.next()), SIGTERM);
  ASSERT_EQ(::kill(program.pid(), SIGQUIT), 0);
  EXPECT_EQ(test::runToEnd(loop, signals.next()), SIGQUIT);
  ASSERT_TRUE(signals.end(143));
  EXPECT_TRUE(test::runToEnd(loop, signals.ended(10s)));
  const int status = program.ended();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 143);
}

TEST_F(SignalsTest, ASignalWaitsForTheNextDaemon) {
  { auto first = open(); }
  ASSERT_EQ(::kill(program.pid(), SIGTERM), 0);
  auto second = open();
  EXPECT_EQ(test::runToEnd(loop, second.next()), SIGTERM);
}

/// O_NONBLOCK belongs to the open file description, and a process of the pod can clear it at any time.
TEST_F(SignalsTest, APodThatMakesThePipeBlockingBlocksNobody) {
  auto signals = open();
  const auto process = sys::openPidFd(Stage::run, program.pid());
  ASSERT_TRUE(process);
  const auto shared = sys::descriptorOf(Stage::run, *process, kSignalsFd);
  ASSERT_TRUE(shared);
  boost::asio::cancellation_signal stop;
  bool stopped = false;
  boost::asio::co_spawn(loop, signals.next(),
                        boost::asio::bind_cancellation_slot(stop.slot(), [&](auto, int) { stopped = true; }));
  loop.poll();
  stop.emit(boost::asio::cancellation_type::terminal);
  loop.restart();
  loop.poll();
  ASSERT_TRUE(stopped);

  ASSERT_EQ(::fcntl(shared->get(), F_SETFL, 0), 0);
  int number = -1;
  boost::asio::co_spawn(loop, signals.next(), [&](auto, int passedOn) { number = passedOn; });
  loop.restart();
  loop.poll();
  ASSERT_EQ(::kill(program.pid(), SIGTERM), 0);
  ASSERT_TRUE(test::runUntil(loop, [&] { return number != -1; }));
  EXPECT_EQ(number, SIGTERM);
}

TEST_F(SignalsTest, ItsEndShows) {
  auto signals = open();
  ASSERT_EQ(::kill(program.pid(), SIGKILL), 0);
  EXPECT_EQ(test::runToEnd(loop, signals.next()), 0);
}

TEST_F(SignalsTest, AnotherProcessesEndSignalIsPassedOn) {
  auto signals = open();
  ASSERT_EQ(::kill(program.pid(), 60), 0) << "without a value";
  EXPECT_EQ(test::runToEnd(loop, signals.next()), 60);
}

TEST_F(SignalsTest, AnotherProgramIsNotTakenForIt) {
  test::FakeClock::install(loop);  // the limit passes at once: this test's own program stays the same
  const auto signals = test::runToEnd(loop, Signals::of(::getpid()));
  EXPECT_FALSE(signals);
}

}  // namespace
}  // namespace fallbackd::standin
