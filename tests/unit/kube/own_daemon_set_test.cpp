// SPDX-License-Identifier: Apache-2.0
// The daemon's end is an uninstall only if the API server confirms it.
#include "kube/own_daemon_set.hpp"

#include "source_fixture.hpp"

#include <functional>
#include <optional>

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using kube_test::FakeApiServer;

constexpr const char* kPath = "/apis/apps/v1/namespaces/fallbackd-system/daemonsets/fallbackd";

class OwnDaemonSetTest : public test_support::SourceFixture {
 protected:
  OwnDaemonSetTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.text = authority.certificate();
    access.token.text = "secret-1";
  }
  /// Waits until the API server has returned the DaemonSet.
  void see() {
    server.putOwner(kPath, R"({"metadata":{"name":"fallbackd"}})");
    tasks.spawn(own.see());
    ASSERT_TRUE(eventually([&] { return tasks.empty(); }));
  }
  boost::asio::awaitable<void> ask(std::optional<bool>& gone) { gone = co_await own.isGone(); }
  /// Like eventually(), in steps too short for a request in flight to reach its limit.
  bool inTime(const std::function<bool()>& done) {
    for (int step = 0; step < 100 && !done(); ++step) {
      settle();
      if (!done()) clock.advance(loop, 100ms);
    }
    return done();
  }
  bool isGone() {
    std::optional<bool> gone;
    tasks.spawn(ask(gone));
    EXPECT_TRUE(inTime([&] { return gone.has_value() && tasks.empty(); }));
    return gone.value_or(false);
  }

  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
  OwnDaemonSet own{[this] { return Result<Access>(access); }, "fallbackd-system/fallbackd"};
};

TEST_F(OwnDaemonSetTest, OneThatExistsIsNotGone) {
  see();
  EXPECT_FALSE(isGone());
}

TEST_F(OwnDaemonSetTest, OneThatWasDeletedIsGone) {
  see();
  server.removeOwner(kPath);
  EXPECT_TRUE(isGone());
}

TEST_F(OwnDaemonSetTest, OneThatIsBeingDeletedIsGone) {
  see();
  server.putOwner(kPath, R"({"metadata":{"name":"fallbackd","deletionTimestamp":"2027-01-31T08:30:00Z"}})");
  EXPECT_TRUE(isGone());
}

TEST_F(OwnDaemonSetTest, ItIsGoneIfItsRightsAreGone) {
  see();
  server.acceptTokens({"other"});
  EXPECT_TRUE(isGone());
}

/// A freshly started API server refuses every request until it has read the roles.
TEST_F(OwnDaemonSetTest, ARefusalThatEndsIsNotBelieved) {
  see();
  server.acceptTokens({"other"});
  std::optional<bool> gone;
  tasks.spawn(ask(gone));
  const auto before = server.requests().size();
  ASSERT_TRUE(inTime([&] { return server.requests().size() >= before + 3; })) << "the request is retried";
  EXPECT_FALSE(gone.has_value());
  server.acceptTokens({"secret-1"});
  EXPECT_TRUE(inTime([&] { return gone.has_value(); }));
  EXPECT_FALSE(gone.value_or(true));
}

/// kubelet allows 20 s, and the removal of the stand-ins needs 12 s of that.
TEST_F(OwnDaemonSetTest, ARefusalIsBelievedInTime) {
  see();
  server.acceptTokens({"other"});
  const auto begin = clock.now();
  std::optional<bool> gone;
  tasks.spawn(ask(gone));
  EXPECT_TRUE(inTime([&] { return gone.has_value(); }));
  EXPECT_TRUE(gone.value_or(false));
  EXPECT_LE(clock.now() - begin, 7s);
}

TEST_F(OwnDaemonSetTest, OneThatWasNeverSeenIsNotGone) {
  EXPECT_FALSE(isGone()) << "the name may be wrong";
}

TEST_F(OwnDaemonSetTest, AnApiServerThatDoesNotAnswerDecidesNothing) {
  see();
  server.trouble({.fault = kube_test::Fault::silent_answer});
  EXPECT_FALSE(isGone());
}

TEST_F(OwnDaemonSetTest, QueriesUntilItIsSeen) {
  int notFound = 0;
  tasks.spawn(own.see([&] { ++notFound; }));
  ASSERT_TRUE(eventually([&] { return server.requests().size() >= 3; })) << "the server answers 404 at first";
  EXPECT_EQ(notFound, 1) << "it is reported once";
  EXPECT_FALSE(own.seen());
  server.putOwner(kPath, R"({"metadata":{"name":"fallbackd"}})");
  ASSERT_TRUE(eventually([&] { return tasks.empty(); }));
  EXPECT_TRUE(own.seen());
  server.removeOwner(kPath);
  EXPECT_TRUE(isGone());
}

TEST(OwnDaemonSetName, HasANamespace) {
  EXPECT_TRUE(OwnDaemonSet::isName("a/b"));
  for (const auto* const text : {"", "/", "a", "a/", "/b", "a/b/c"})
    EXPECT_FALSE(OwnDaemonSet::isName(text)) << text;
}

}  // namespace
}  // namespace fallbackd::kube
