// SPDX-License-Identifier: Apache-2.0
#include "watcher/pull_watch.hpp"

#include "watcher/answer_times.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using sys::TcpConnection;
using sys::TcpConnections;

/// A pull that began at 0 s; the test passes in all times.
struct PullWatchTest : testing::Test {
  static Stamp at(std::chrono::milliseconds time) { return Stamp{} + 1h + time; }
  static Wall::time_point wall(std::chrono::milliseconds time) { return Wall::time_point(20000h) + time; }
  static TcpConnection connecting(const std::string& peer = "192.0.2.1:5000") {
    TcpConnection one;
    one.state = TcpConnection::State::connecting;
    one.unacknowledged = 1;
    one.peer = peer;
    return one;
  }
  /// A connection with an acknowledged request; the last data was sent `since` ago.
  static TcpConnection silent(std::chrono::milliseconds since, const std::string& peer = "192.0.2.1:5000") {
    TcpConnection one;
    one.acknowledged = 300;
    one.sinceSent = since;
    one.peer = peer;
    return one;
  }
  static TcpConnection answered(std::uint64_t bytes, std::chrono::milliseconds since) {
    auto one = silent(since);
    one.bytes = bytes;
    one.sinceReceived = since;
    return one;
  }
  void look(std::chrono::milliseconds time, TcpConnections connections,
            std::vector<cri::Ingest> ingests = {}) {
    watch.sawConnections(std::move(connections), at(time));
    watch.sawStore(contents, ingests, at(time), wall(time));
  }
  std::vector<cri::Content> contents{{"sha256:m", "a", {"sha256:1"}}};
  PullWatch watch{{1s, 3s}, "a", TcpConnections{}, {}, at(0s)};
};

TEST_F(PullWatchTest, WithoutAConnectionTheStallTimeoutCounts) {
  look(10ms, {{7, connecting()}});
  look(900ms, {{7, connecting()}});
  EXPECT_FALSE(watch.stalled(at(999ms)));
  EXPECT_EQ(watch.stalled(at(1s)), 1s);
}

TEST_F(PullWatchTest, WithoutTlsTheStallTimeoutCounts) {
  look(900ms, {{7, silent(890ms, "192.0.2.1:443")}});
  EXPECT_EQ(watch.stalled(at(1010ms)), 1s);
}

TEST_F(PullWatchTest, ARequestThatIsNotAcknowledgedHasTheStallTimeout) {
  auto one = answered(5000, 800ms);
  one.unacknowledged = 300;
  look(900ms, {{7, one}});
  EXPECT_EQ(watch.stalled(at(1100ms)), 1s);
}

TEST_F(PullWatchTest, AnAnswerHasTheResponseTimeout) {
  look(100ms, {{7, silent(90ms)}});
  look(2900ms, {{7, silent(2890ms)}});
  EXPECT_TRUE(watch.connected());
  EXPECT_FALSE(watch.stalled(at(3005ms)));
  EXPECT_EQ(watch.stalled(at(3010ms)), 3s);
}

TEST_F(PullWatchTest, SlowAnswersOneAfterTheOtherStartNothing) {
  look(100ms, {{7, silent(100ms)}});
  look(1400ms, {{7, silent(1400ms)}});
  look(2800ms, {{7, answered(500, 1300ms)}});  // answered at 1.5 s, and a new request was sent
  look(4400ms, {{7, answered(900, 1400ms)}});  // answered at 3 s
  EXPECT_FALSE(watch.stalled(at(5900ms)));
  EXPECT_GE(watch.slowestAnswer(), 1400ms);
  EXPECT_LE(watch.slowestAnswer(), 1700ms);
}

TEST_F(PullWatchTest, OtherPullsHideADeadOneForAWhileOnly) {
  auto stalledAt = 0ms;
  for (auto time = 100ms; time < 60s && stalledAt == 0ms; time += 100ms) {
    look(time, {{7, answered(static_cast<std::uint64_t>(time.count()), 0ms)}});
    if (watch.stalled(at(time))) stalledAt = time;
  }
  EXPECT_GT(stalledAt, 10s);
  EXPECT_LT(stalledAt, 20s);
}

TEST_F(PullWatchTest, AnotherDownloadDoesNotHideADeadOne) {
  auto stalledAt = 0ms;
  for (auto time = 100ms; time < 60s && stalledAt == 0ms; time += 100ms) {
    look(time, {{7, answered(static_cast<std::uint64_t>(time.count()) << 20, 0ms)}, {8, silent(time)}});
    if (watch.stalled(at(time))) stalledAt = time;
  }
  EXPECT_LE(stalledAt, 3100ms);
}

TEST_F(PullWatchTest, TheNextMirrorHasItsOwnTime) {
  look(900ms, {{7, connecting()}});
  look(950ms, {{8, connecting("192.0.2.2:5000")}});
  EXPECT_FALSE(watch.stalled(at(1900ms)));
  look(1900ms, {{8, connecting("192.0.2.2:5000")}});
  EXPECT_TRUE(watch.stalled(at(1950ms)));
}

TEST_F(PullWatchTest, ALayerThatStallsIsKnownFromItsLastByteHoweverFewLooksThereWere) {
  const std::vector<cri::Ingest> layer{{"layer-sha256:1", 0, 1000}};
  look(50ms, {{7, answered(100, 0ms)}}, layer);
  look(2500ms, {{7, answered(500, 2200ms)}}, layer);  // the last byte came at 300 ms
  EXPECT_TRUE(watch.downloading());
  EXPECT_FALSE(watch.stalled(at(3290ms)));
  EXPECT_EQ(watch.stalled(at(3300ms)), 3s);
}

/// The looks are 250 ms apart; the limit counts from the event between them.
TEST_F(PullWatchTest, ASilenceBehindAnAnswerIsKnownFromThatAnswer) {
  contents.clear();
  look(0ms, {{7, answered(500, 0ms)}});
  look(250ms, {{7, silent(245ms)}}, {{"manifest-sha256:m", 0, 500, wall(5ms)}});
  look(2900ms, {{7, silent(2895ms)}}, {{"manifest-sha256:m", 0, 500, wall(5ms)}});
  EXPECT_FALSE(watch.stalled(at(3004ms)));
  EXPECT_EQ(watch.stalled(at(3005ms)), 3s);
}

TEST_F(PullWatchTest, ASilenceBehindAStoredBlobIsKnownFromThatBlob) {
  contents.clear();
  look(0ms, {{7, answered(500, 0ms)}});
  contents = {{"sha256:m", "a", {"sha256:1"}, wall(7ms)}};
  const std::vector<cri::Ingest> layer{{"layer-sha256:1", 0, 1000, wall(8ms)}};
  look(250ms, {{7, answered(500, 250ms)}}, layer);
  look(2900ms, {{7, answered(500, 2900ms)}}, layer);
  EXPECT_EQ(watch.stalled(at(3007ms)), 3s);
}

TEST_F(PullWatchTest, AClockThatWasSetMovesNothingBeyondTheLooks) {
  contents.clear();
  look(0ms, {{7, answered(500, 0ms)}});
  look(2000ms, {{7, silent(2000ms)}}, {{"manifest-sha256:m", 0, 500, wall(-10h)}});
  look(4000ms, {{7, silent(4000ms)}}, {{"manifest-sha256:n", 0, 500, wall(10h)}});
  EXPECT_FALSE(watch.stalled(at(6900ms)));
  look(6900ms, {{7, silent(6900ms)}}, {{"manifest-sha256:n", 0, 500, wall(10h)}});
  EXPECT_TRUE(watch.stalled(at(7000ms)));
}

TEST_F(PullWatchTest, ManifestsOfOtherPullsHideADeadRegistryForAWhileOnly) {
  auto stalledAt = 0ms;
  for (auto time = 100ms; time < 60s && stalledAt == 0ms; time += 100ms) {
    look(time, {{7, silent(time)}}, {{"manifest-sha256:" + std::to_string(time.count()), 0, 500}});
    if (watch.stalled(at(time))) stalledAt = time;
  }
  EXPECT_GT(stalledAt, 10s);
  EXPECT_LT(stalledAt, 20s);
}

TEST_F(PullWatchTest, WhereTheReferenceNamesAnAddressManifestsOfOtherPullsHideNothing) {
  PullWatch named{{1s, 3s}, "a", TcpConnections{}, "192.0.2.9:5000", at(0s)};
  auto stalledAt = 0ms;
  for (auto time = 100ms; time < 60s && stalledAt == 0ms; time += 100ms) {
    named.sawConnections(TcpConnections{{7, silent(time, "192.0.2.9:5000")}, {8, answered(99, 0ms)}},
                         at(time));
    named.sawStore(contents, {{"manifest-sha256:" + std::to_string(time.count()), 0, 500}}, at(time),
                   wall(time));
    if (named.stalled(at(time))) stalledAt = time;
  }
  EXPECT_LE(stalledAt, 3100ms);
}

TEST_F(PullWatchTest, TheStoreMustHaveBeenAskedLateEnough) {
  look(100ms, {{7, silent(90ms)}});
  watch.sawConnections(TcpConnections{{7, silent(3500ms)}}, at(3510ms));
  EXPECT_FALSE(watch.stalled(at(3510ms))) << "possibly only the store changed";
}

TEST_F(PullWatchTest, WhereTheReferenceNamesAnAddressOnlyItsConnectionsCount) {
  PullWatch named{{1s, 3s}, "a", TcpConnections{}, "192.0.2.9:5000", at(0s)};
  named.sawConnections(TcpConnections{{7, connecting("192.0.2.9:5000")}, {8, silent(10ms)}}, at(900ms));
  named.sawStore(contents, {}, at(900ms), wall(900ms));
  EXPECT_EQ(named.stalled(at(1s)), 1s);
}

TEST_F(PullWatchTest, WhereConnectionsCannotBeSeenNothingIsRushed) {
  PullWatch blind{{1s, 3s}, "a", std::nullopt, {}, at(0s)};
  blind.sawConnections(std::nullopt, at(2900ms));
  blind.sawStore(contents, {}, at(2900ms), wall(2900ms));
  EXPECT_FALSE(blind.stalled(at(2990ms)));
  EXPECT_EQ(blind.stalled(at(3s)), 3s);
}

TEST(AnswerTimes, OneSlowAnswerDoesNotDecide) {
  AnswerTimes times(2);
  EXPECT_EQ(times.usual("r.x"), 0s);
  times.add("r.x", 10s);
  EXPECT_EQ(times.usual("r.x"), 10s);
  for (int i = 0; i < 4; ++i) times.add("r.x", 1s);
  EXPECT_EQ(times.usual("r.x"), 1s);
  for (int i = 0; i < 8; ++i) times.add("r.x", 4s);
  EXPECT_EQ(times.usual("r.x"), 4s);
}

}  // namespace
}  // namespace fallbackd::watcher
