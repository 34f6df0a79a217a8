// SPDX-License-Identifier: Apache-2.0
#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/async/jitter.hpp"
#include "base/async/pause.hpp"
#include "base/async/watched.hpp"
#include "base/async/within.hpp"
#include "base/task_group.hpp"
#include "fake_clock.hpp"

#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using testing::ElementsAre;

/// A loop with a clock under the test's control.
struct AsyncTest : testing::Test {
  TaskGroup::Id spawn(asio::awaitable<void> task) { return tasks.spawn(std::move(task)); }
  void poll() { clock.advance(loop, 0ns); }
  void pass(nanoseconds length) { clock.advance(loop, length); }
  [[nodiscard]] nanoseconds elapsed() const { return clock.now() - begun; }

  asio::io_context loop{1};
  test::FakeClock& clock = test::FakeClock::install(loop);
  Stamp begun = clock.now();
  TaskGroup tasks{loop.get_executor()};
  std::vector<std::string> seen;
};

/// Records how the task ended, even if it was cancelled.
asio::awaitable<void> noting(std::vector<std::string>& seen, std::string name, asio::awaitable<void> task) {
  std::string how = " ended";
  try {
    co_await std::move(task);
  } catch (const boost::system::system_error& error) {
    how = error.code() == asio::error::operation_aborted ? " cancelled" : " failed";
  } catch (const std::runtime_error& error) {
    how = std::string(" threw ") + error.what();
  }
  seen.push_back(name + how);
}

struct EventTest : AsyncTest {
  TaskGroup::Id waitAs(const std::string& name) { return spawn(noting(seen, name, event->wait())); }
  asio::awaitable<void> waitLimited(nanoseconds limit) {
    const bool came = co_await event->waitFor(limit);
    seen.emplace_back(came ? "came" : "late");
  }
  std::optional<Event> event{std::in_place, loop.get_executor()};
};

TEST_F(EventTest, OnceSetItHoldsForLaterWaiters) {
  waitAs("a");
  waitAs("b");
  poll();
  EXPECT_THAT(seen, ElementsAre());
  event->set();
  EXPECT_TRUE(event->isSet());
  poll();
  waitAs("c");
  poll();
  EXPECT_THAT(seen, ElementsAre("a ended", "b ended", "c ended"));
}

TEST_F(EventTest, AfterAResetItBlocksAgain) {
  event->set();
  event->reset();
  waitAs("a");
  poll();
  EXPECT_THAT(seen, ElementsAre());
  event->set();
  event->reset();  // the current waiters were woken nevertheless
  poll();
  EXPECT_THAT(seen, ElementsAre("a ended"));
}

TEST_F(EventTest, NotifyWakesOnlyCurrentWaiters) {
  waitAs("a");
  poll();
  event->notify();
  waitAs("b");
  poll();
  EXPECT_THAT(seen, ElementsAre("a ended"));
  EXPECT_FALSE(event->isSet());
}

TEST_F(EventTest, ACancelledWaitThrowsAndLeavesTheOthersAlone) {
  const auto a = waitAs("a");
  waitAs("b");
  poll();
  tasks.cancel(a);
  poll();
  EXPECT_THAT(seen, ElementsAre("a cancelled"));
  event->set();
  poll();
  EXPECT_THAT(seen, ElementsAre("a cancelled", "b ended"));
}

TEST_F(EventTest, DestroyedDuringAWait) {
  waitAs("a");
  poll();
  event.reset();
  poll();
  EXPECT_THAT(seen, ElementsAre("a cancelled"));
}

TEST_F(EventTest, OutlivesALoopThatIsDestroyedFirst) {
  std::optional<asio::io_context> other(std::in_place, 1);
  auto late = std::make_shared<Event>(other->get_executor());
  auto wait = [](std::shared_ptr<Event> one) -> asio::awaitable<void> { co_await one->wait(); };
  asio::co_spawn(*other, wait(late), [](const std::exception_ptr&) {});
  other->poll();
  EXPECT_GT(late.use_count(), 1);
  other.reset();
  EXPECT_EQ(late.use_count(), 1) << "the waiting frame was destroyed";
}

TEST_F(EventTest, ADeadlineEndsTheWait) {
  spawn(waitLimited(10s));
  pass(9s);
  EXPECT_THAT(seen, ElementsAre());
  pass(1s);
  EXPECT_THAT(seen, ElementsAre("late"));
  spawn(waitLimited(10s));
  pass(9s);
  event->set();
  poll();
  EXPECT_THAT(seen, ElementsAre("late", "came"));
  EXPECT_EQ(elapsed(), 19s);
}

TEST_F(EventTest, TheSystemClockEndsAWaitToo) {
  asio::io_context other(1);
  Event never(other.get_executor());
  std::optional<bool> came;
  asio::co_spawn(other, never.waitFor(1us), [&](const std::exception_ptr&, bool result) { came = result; });
  other.run();
  EXPECT_EQ(came, false);
}

struct WithinTest : AsyncTest {
  /// Returns a value after `length`.
  static asio::awaitable<std::unique_ptr<int>> valueAfter(nanoseconds length,
                                                          std::vector<std::string>& seen) {
    co_await noting(seen, "work", pauseFor(length));
    co_return std::make_unique<int>(7);
  }
  static asio::awaitable<void> throwAfter(nanoseconds length) {
    co_await pauseFor(length);
    throw std::runtime_error("broken");
  }
  asio::awaitable<void> ask(nanoseconds length, nanoseconds limit) {
    const auto value = co_await within(limit, valueAfter(length, seen));
    seen.push_back(value ? std::to_string(**value) : "over");
  }
  asio::awaitable<void> limited(asio::awaitable<void> work, nanoseconds limit) {
    const bool inTime = co_await within(limit, std::move(work));
    seen.emplace_back(inTime ? "in time" : "over");
  }
};

TEST_F(WithinTest, ReturnsTheValueThatIsInTime) {
  spawn(ask(1s, 2s));
  pass(1s);
  EXPECT_THAT(seen, ElementsAre("work ended", "7"));
}

TEST_F(WithinTest, CancelsWhatTakesLonger) {
  spawn(ask(3s, 2s));
  pass(2s);
  EXPECT_THAT(seen, ElementsAre("work cancelled", "over"));
  EXPECT_EQ(elapsed(), 2s);
}

TEST_F(WithinTest, ForVoidItSaysWhetherItWasInTime) {
  spawn(limited(pauseFor(1s), 2s));
  spawn(limited(pauseFor(3s), 2s));
  spawn(limited(untilCancelled(), 2s));
  pass(2s);
  EXPECT_THAT(seen, ElementsAre("in time", "over", "over"));
}

TEST_F(WithinTest, AFailurePassesThroughAtOnce) {
  spawn(noting(seen, "a", limited(throwAfter(1s), 1h)));
  pass(1s);
  EXPECT_THAT(seen, ElementsAre("a threw broken"));
}

TEST_F(WithinTest, CancellingTheCallerCancelsTheWork) {
  const auto id = spawn(noting(seen, "caller", limited(noting(seen, "work", pauseFor(1s)), 2s)));
  const auto other = spawn(noting(seen, "other", limited(untilCancelled(), 2s)));
  poll();
  tasks.cancel(id);
  tasks.cancel(other);
  poll();
  EXPECT_THAT(seen, ElementsAre("work cancelled", "caller cancelled", "other cancelled"));
}

TEST_F(WithinTest, AnExpiredDeadlineStillCancels) {
  spawn(limited(untilCancelled(), 0s));
  poll();
  EXPECT_THAT(seen, ElementsAre("over"));
}

TEST_F(WithinTest, NoLimitIsTooLongForTheClock) {
  const auto id = spawn(limited(untilCancelled(), nanoseconds::max()));
  pass(1h);
  EXPECT_THAT(seen, ElementsAre());
  tasks.cancel(id);
  poll();
  EXPECT_TRUE(tasks.empty());
}

TEST_F(AsyncTest, BackoffDoublesUpToItsLimitAndStartsAgain) {
  std::vector<nanoseconds> pauses;
  auto attempts = [](const Clock& time, std::vector<nanoseconds>& all) -> asio::awaitable<void> {
    Backoff backoff({1s, 5s});
    for (int i = 0; i < 6; ++i) {
      if (i == 5) backoff.reset();
      const auto since = time.now();
      co_await backoff.wait();
      all.push_back(time.now() - since);
    }
  };
  spawn(attempts(clock, pauses));
  pass(1h);
  EXPECT_THAT(pauses, ElementsAre(1s, 2s, 4s, 5s, 5s, 1s));
}

TEST(Watched, AnUnwatchableDescriptorIsAnErrorAndIsClosedIfOwned) {
  asio::io_context loop;
  const int file = ::open("/", O_PATH | O_CLOEXEC);
  const auto copy = watchCopy(loop.get_executor(), Stage::run, file);
  ASSERT_FALSE(copy);
  EXPECT_EQ(copy.error().errnum, EBADF) << "epoll rejects O_PATH descriptors";
  EXPECT_GE(::fcntl(file, F_GETFD), 0);
  EXPECT_FALSE(watch(loop.get_executor(), Stage::run, file));
  EXPECT_EQ(::fcntl(file, F_GETFD), -1) << "watch() took the descriptor and closed it";
  EXPECT_EQ(watchCopy(loop.get_executor(), Stage::run, -1).error().errnum, EBADF);
}

TEST(Jitter, StaysNearTheInterval) {
  Jitter jitter(42);
  nanoseconds least = 10s;
  nanoseconds most = 0s;
  for (int i = 0; i < 1000; ++i) {
    const auto one = jitter(10s);
    least = std::min(least, one);
    most = std::max(most, one);
  }
  EXPECT_GE(least, 8s);
  EXPECT_LT(least, 8500ms);
  EXPECT_LE(most, 12s);
  EXPECT_GT(most, 11500ms);
}

}  // namespace
}  // namespace fallbackd
