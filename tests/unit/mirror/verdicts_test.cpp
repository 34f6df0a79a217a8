// SPDX-License-Identifier: Apache-2.0
// One check for all waiters, and how long its verdict counts; when a name was last seen at its registry.
#include "mirror/verdicts.hpp"

#include "base/async/pause.hpp"
#include "fake_runtime.hpp"
#include "mirror/last_seen.hpp"
#include "temp_folder.hpp"

#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using test::FakeClock;

class VerdictsTest : public testing::Test {
 protected:
  asio::awaitable<std::optional<Failing>> check(std::string registry) {
    asked.push_back(registry);
    co_await gate.passed();
    if (takes.count() > 0) co_await pauseFor(takes);
    if (breaks) throw std::runtime_error("no memory");
    co_return answer;
  }
  std::optional<Failing> of(const std::string& registry) {
    return test::runToEnd(loop, verdicts.of(registry)).failing;
  }

  asio::io_context loop;
  FakeClock& clock = FakeClock::install(loop);
  test::Gate gate{loop};
  std::vector<std::string> asked;
  std::optional<Failing> answer;
  bool breaks = false;
  std::chrono::nanoseconds takes{0};
  Verdicts verdicts{loop.get_executor(), [this](std::string registry) { return check(std::move(registry)); },
                    Verdicts::Validity{3s, 10s}};
};

TEST_F(VerdictsTest, AllWaitersShareOneCheck) {
  answer = Failing{Cause::timeout, "silent"};
  unsigned told = 0;
  for (int i = 0; i < 110; ++i) {
    asio::co_spawn(loop, verdicts.of("r"), [&](const std::exception_ptr&, const Verdicts::Verdict& verdict) {
      told += verdict.failing && verdict.failing->cause == Cause::timeout ? 1 : 0;
    });
  }
  clock.advance(loop, 1s);
  EXPECT_EQ(told, 0U);
  EXPECT_EQ(asked, std::vector<std::string>{"r"});
  gate.open();
  EXPECT_TRUE(test::runUntil(loop, [&] { return told == 110; }));
  EXPECT_EQ(asked.size(), 1U);
  EXPECT_EQ(verdicts.counts().at("timeout"), 1U);
}

TEST_F(VerdictsTest, AVerdictExpiresAndAGoodOneExpiresSooner) {
  gate.open();
  EXPECT_FALSE(of("r"));
  clock.advance(loop, 2999ms);
  EXPECT_FALSE(of("r"));
  EXPECT_EQ(asked.size(), 1U);
  clock.advance(loop, 1ms);
  EXPECT_FALSE(verdicts.known("r"));
  answer = Failing{Cause::unreachable, "refused"};
  EXPECT_TRUE(of("r"));
  clock.advance(loop, 9999ms);
  EXPECT_TRUE(of("r"));
  EXPECT_EQ(asked.size(), 2U);
  EXPECT_TRUE(of("s"));
  clock.advance(loop, 1ms);
  answer.reset();
  EXPECT_FALSE(of("r"));
  EXPECT_EQ(asked, (std::vector<std::string>{"r", "r", "s", "r"}));
}

/// The next check begins by itself as long as the verdict is still used: no caller waits for it.
struct AheadTest : VerdictsTest {
  AheadTest() {
    gate.open();
    EXPECT_FALSE(ahead.known("r"));
    EXPECT_FALSE(test::runToEnd(loop, ahead.of("r")).failing);
  }
  Verdicts ahead{loop.get_executor(), [this](std::string registry) { return check(std::move(registry)); },
                 Verdicts::Validity{8s, 10s, 4s, 60s}};
};

TEST_F(AheadTest, ARegistryThatIsAskedAboutStaysKnown) {
  for (int i = 0; i < 40; ++i) {
    clock.advance(loop, 1s);
    EXPECT_TRUE(ahead.known("r")) << "after " << i << " s";
  }
  EXPECT_EQ(asked.size(), 11U) << "one check in 4 s";
  answer = Failing{Cause::unreachable, "refused"};
  clock.advance(loop, 4s);
  ASSERT_TRUE(ahead.known("r"));
  EXPECT_TRUE(ahead.known("r")->failing) << "the verdict is fresh";
}

TEST_F(AheadTest, NobodyWaitsWhileTheNextCheckTakesLong) {
  takes = 3900ms;
  for (int i = 0; i < 200; ++i) {
    clock.advance(loop, 100ms);
    ASSERT_TRUE(ahead.known("r")) << "after " << i << "00 ms";
  }
  EXPECT_GE(asked.size(), 3U);
}

TEST_F(AheadTest, ARegistryThatNobodyAsksAboutIsNotChecked) {
  clock.advance(loop, 10min);
  EXPECT_LE(asked.size(), 16U) << "for a minute, one check in 4 s";
  EXPECT_FALSE(ahead.known("r"));
  const auto before = asked.size();
  EXPECT_FALSE(test::runToEnd(loop, ahead.of("r")).failing);
  EXPECT_EQ(asked.size(), before + 1);
}

TEST_F(AheadTest, ChecksAheadAreLimited) {
  for (std::size_t i = 1; i < 2 * Verdicts::kMaxAhead; ++i) {
    EXPECT_FALSE(test::runToEnd(loop, ahead.of(std::to_string(i))).failing);
  }
  asked.clear();
  clock.advance(loop, 4s);
  EXPECT_EQ(asked.size(), Verdicts::kMaxAhead);
}

TEST_F(VerdictsTest, ACancelledWaiterDoesNotCancelTheCheck) {
  asio::cancellation_signal leave;
  bool left = false;
  asio::co_spawn(loop, verdicts.of("r"),
                 asio::bind_cancellation_slot(leave.slot(), [&](const std::exception_ptr&,
                                                                const Verdicts::Verdict&) { left = true; }));
  clock.advance(loop, 1s);
  leave.emit(asio::cancellation_type::terminal);
  EXPECT_TRUE(test::runUntil(loop, [&] { return left; }));
  gate.open();
  EXPECT_FALSE(of("r"));
  EXPECT_EQ(asked.size(), 1U);
}

TEST_F(VerdictsTest, AnExceptionInACheckEndsTheWait) {
  gate.open();
  breaks = true;
  const auto failing = of("r");
  ASSERT_TRUE(failing);
  EXPECT_EQ(failing->cause, Cause::unknown);
}

TEST_F(VerdictsTest, RememberedRegistriesAreLimited) {
  gate.open();
  for (std::size_t i = 0; i <= Verdicts::kMaxRegistries; ++i) of("r" + std::to_string(i));
  EXPECT_FALSE(verdicts.known("r0"));
  EXPECT_TRUE(verdicts.known("r" + std::to_string(Verdicts::kMaxRegistries)));
}

constexpr Wall::time_point at(int hour) {
  return Wall::time_point(std::chrono::hours(10000 + hour));
}

TEST(LastSeen, APullThatTheMirrorAnsweredIsNotTheRegistry) {
  LastSeen seen("");
  EXPECT_EQ(seen.of("a", at(0)), at(0));
  ASSERT_TRUE(seen.served("a", at(0), at(5)));
  EXPECT_EQ(seen.of("a", at(5)), at(0)) << "containerd recorded the mirror's answer";
  ASSERT_TRUE(seen.served("a", at(5), at(9)));
  EXPECT_EQ(seen.of("a", at(9)), at(0)) << "a second answer of the mirror";
  EXPECT_EQ(seen.of("b", at(5)), at(5));
  EXPECT_EQ(seen.of("a", std::nullopt), std::nullopt);
}

TEST(LastSeen, APullAfterTheRegistryIsBackCounts) {
  LastSeen seen("");
  ASSERT_TRUE(seen.served("a", at(0), at(5)));
  ASSERT_TRUE(seen.passedOn("a", at(6)));
  EXPECT_EQ(seen.of("a", at(5)), at(0)) << "containerd went on to it, and the pull failed";
  EXPECT_EQ(seen.of("a", at(6)), at(6));
  ASSERT_TRUE(seen.served("a", at(6), at(8)));
  EXPECT_EQ(seen.of("a", at(8)), at(6));
}

TEST(LastSeen, APullLongAfterServingIsNotTheMirrors) {
  LastSeen seen("");
  ASSERT_TRUE(seen.served("a", at(0), at(5)));
  EXPECT_EQ(seen.of("a", at(6)), at(0));
  EXPECT_EQ(seen.of("a", at(7)), at(7));
}

TEST(LastSeen, TheNextDaemonKnowsIt) {
  const test::TempFolder folder;
  const auto file = folder.path() + "/state/mirror.seen";
  {
    LastSeen seen(file);
    ASSERT_TRUE(seen.load());
    ASSERT_TRUE(seen.served("a", at(0), at(5)));
    ASSERT_TRUE(seen.served("b", at(1), at(5)));
    ASSERT_TRUE(seen.passedOn("b", at(6)));
  }
  LastSeen seen(file);
  ASSERT_TRUE(seen.load());
  EXPECT_EQ(seen.of("a", at(5)), at(0));
  EXPECT_EQ(seen.of("b", at(5)), at(1));
  EXPECT_EQ(seen.of("b", at(6)), at(6));
  folder.write("state/mirror.seen", "{");
  LastSeen damaged(file);
  EXPECT_FALSE(damaged.load());
  EXPECT_EQ(damaged.of("a", at(5)), at(5));
}

TEST(LastSeen, KeptNamesAreLimited) {
  LastSeen seen("");
  for (std::size_t i = 0; i <= LastSeen::kMaxNames; ++i) {
    ASSERT_TRUE(seen.served(std::to_string(i), at(0), at(5) + std::chrono::seconds(i)));
  }
  EXPECT_EQ(seen.of("0", at(5)), at(5)) << "forgotten";
  EXPECT_EQ(seen.of(std::to_string(LastSeen::kMaxNames), at(5)), at(0));
}

}  // namespace
}  // namespace fallbackd::mirror
