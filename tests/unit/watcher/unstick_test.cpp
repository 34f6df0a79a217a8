// SPDX-License-Identifier: Apache-2.0
// The decision which connections are ended.
#include "watcher/unstick.hpp"

#include <gmock/gmock.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using sys::TcpConnection;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr const char* kDead = "192.0.2.1:5000";

/// The test passes in all times; the registry is dead from the beginning.
struct UnstickTest : testing::Test {
  UnstickTest() { registries["r.x"] = {{kDead}, {1s, 3s}, at(1h)}; }
  static Stamp at(std::chrono::nanoseconds time) { return later(Stamp{} + 24h, time); }
  static TcpConnection connecting(std::uint64_t cookie, const std::string& peer = kDead) {
    TcpConnection one;
    one.state = TcpConnection::State::connecting;
    one.unacknowledged = 1;
    one.peer = peer;
    one.cookie = cookie;
    return one;
  }
  /// A connection with an acknowledged request; the last data was sent `since` ago.
  static TcpConnection silent(std::uint64_t cookie, std::chrono::milliseconds since,
                              const std::string& peer = kDead) {
    TcpConnection one;
    one.acknowledged = 300;
    one.sinceSent = since;
    one.peer = peer;
    one.cookie = cookie;
    return one;
  }
  static TcpConnection answered(std::uint64_t cookie, std::uint64_t bytes, std::chrono::milliseconds since,
                                const std::string& peer = kDead) {
    auto one = silent(cookie, since, peer);
    one.bytes = bytes;
    one.sinceReceived = since;
    return one;
  }
  void look(std::chrono::nanoseconds time, const std::vector<TcpConnection>& all) {
    sys::TcpConnections now;
    for (const auto& one : all) now[one.cookie + 1000] = one;
    connections.look(now, at(time));
  }
  /// The cookies of the connections that are to be ended.
  std::vector<std::uint64_t> due(std::chrono::nanoseconds time) {
    std::vector<std::uint64_t> cookies;
    const auto decision = decide(connections, registries, spared, at(time));
    next = decision.next;
    for (const auto& one : decision.due) cookies.push_back(one.cookie);
    return cookies;
  }
  StillConnections connections;
  StalledRegistries registries;
  std::map<std::uint64_t, Stamp> spared;
  std::optional<Stamp> next;
};

TEST_F(UnstickTest, ASilentPeerIsGivenTheTimeOfAnAnswer) {
  look(100ms, {silent(1, 100ms)});
  look(2900ms, {silent(1, 2900ms)});
  EXPECT_THAT(due(2999ms), IsEmpty());
  EXPECT_EQ(next, at(3s));
  EXPECT_THAT(due(3s), ElementsAre(1));
}

TEST_F(UnstickTest, ASynThatNobodyAnswersIsGivenTheTimeOfAConnection) {
  look(0s, {connecting(1)});
  look(900ms, {connecting(1)});
  EXPECT_THAT(due(999ms), IsEmpty());
  EXPECT_THAT(due(1s), ElementsAre(1));
}

TEST_F(UnstickTest, WithoutTlsAConnectionDoesNotStand) {
  registries["r.x"].peers = {"192.0.2.1:443"};
  look(0s, {silent(1, 0ms, "192.0.2.1:443"), answered(2, 100, 0ms, "192.0.2.1:443")});
  EXPECT_THAT(due(1s), ElementsAre(1));
  EXPECT_THAT(due(3s), UnorderedElementsAre(1, 2));
}

TEST_F(UnstickTest, APeerThatAcknowledgesNothingHasVanished) {
  auto one = silent(1, 0ms);
  one.acknowledged = 1;
  one.unacknowledged = 300;
  look(0s, {one});
  // The kernel retransmits the data, and counts that as sent.
  one.sinceSent = 10ms;
  look(900ms, {one});
  EXPECT_THAT(due(1s), ElementsAre(1));
}

TEST_F(UnstickTest, AConnectionThatMovesIsNotTouched) {
  // A download at 20 KB/s, a connection that containerd reads slowly, and one with a request just sent.
  for (int i = 0; i <= 100; ++i) {
    const auto now = i * 100ms;
    auto unread = answered(2, 5000, std::chrono::milliseconds(now));
    unread.unread = 1;
    auto asked = answered(3, 5000, std::chrono::milliseconds(now));
    asked.acknowledged = 300U + static_cast<std::uint64_t>(i) / 25;
    asked.sinceSent = 0ms;
    look(now, {answered(1, 2000U * static_cast<std::uint64_t>(i + 1), 0ms), unread, asked});
    EXPECT_THAT(due(now), IsEmpty()) << i;
  }
}

TEST_F(UnstickTest, ADownloadThatStopsInTheMiddleIsEnded) {
  look(0s, {answered(1, 5000, 0ms)});
  look(1s, {answered(1, 9000, 200ms)});
  look(3s, {answered(1, 9000, 2200ms)});
  EXPECT_THAT(due(3799ms), IsEmpty());
  EXPECT_THAT(due(3800ms), ElementsAre(1));
}

TEST_F(UnstickTest, OtherAddressesAreNotTouched) {
  look(0s, {silent(1, 0ms, "192.0.2.1:5001"), silent(2, 0ms, "192.0.2.2:5000"), silent(3, 0ms)});
  EXPECT_THAT(due(1h - 1ns), ElementsAre(3));
}

TEST_F(UnstickTest, AVerdictThatIsNotValidAnyMoreEndsNothing) {
  registries["r.x"].until = at(2s);
  look(0s, {silent(1, 0ms)});
  EXPECT_THAT(due(3s), IsEmpty());
}

TEST_F(UnstickTest, RegistriesThatShareAnAddressGetTheLongestTime) {
  registries["slow.x"] = {{kDead}, {1s, 20s}, at(1h)};
  look(0s, {silent(1, 0ms)});
  EXPECT_THAT(due(19s), IsEmpty());
  EXPECT_THAT(due(20s), ElementsAre(1));
}

TEST_F(UnstickTest, AnInodeThatIsUsedAgainIsAnotherConnection) {
  connections.look({{7, silent(1, 0ms)}}, at(0s));
  connections.look({{7, connecting(2)}}, at(2500ms));
  EXPECT_THAT(due(3s), IsEmpty());
  EXPECT_THAT(due(3500ms), ElementsAre(2));
}

TEST_F(UnstickTest, AConnectionOfOurOwnPullIsSparedForAWhile) {
  spared[1] = at(40s);
  look(0s, {silent(1, 0ms), silent(2, 0ms)});
  EXPECT_THAT(due(39s), ElementsAre(2));
  EXPECT_THAT(due(40s), UnorderedElementsAre(1, 2));
}

TEST(Proxies, AreReadFromTheEnvironment) {
  using namespace std::string_literals;
  EXPECT_THAT(proxiesIn("PATH=/bin\0HTTPS_PROXY=http://u:p%40x@proxy.corp:3128/\0http_proxy=192.0.2.9:80\0"
                        "NO_PROXY=localhost\0all_proxy=socks5://[2001:db8::1]\0HTTP_PROXY=\0nonsense"s),
              UnorderedElementsAre("proxy.corp:3128", "192.0.2.9:80", "[2001:db8::1]:1080"));
  EXPECT_THAT(proxiesIn("HTTPS_PROXY=https://proxy.corp"), ElementsAre("proxy.corp:443"));
  EXPECT_THAT(proxiesIn(""), IsEmpty());
}

TEST(Proxies, AreDistinguishedFromRegistriesByAddressOrElseByPort) {
  EXPECT_TRUE(mayBeProxy("192.0.2.9:80", {"192.0.2.9:80"}));
  EXPECT_FALSE(mayBeProxy("192.0.2.8:80", {"192.0.2.9:80"}));
  EXPECT_TRUE(mayBeProxy("192.0.2.8:3128", {"proxy.corp:3128"}));
  EXPECT_TRUE(mayBeProxy("[2001:db8::2]:3128", {"proxy.corp:3128"}));
  EXPECT_FALSE(mayBeProxy("192.0.2.8:443", {"proxy.corp:3128"}));
  EXPECT_FALSE(mayBeProxy("192.0.2.8:13128", {"proxy.corp:3128"}));
  EXPECT_TRUE(mayBeProxy("[2001:db8::1]:1080", {"[2001:db8::1]:1080"}));
  EXPECT_FALSE(mayBeProxy("192.0.2.8:443", {}));
}

}  // namespace
}  // namespace fallbackd::watcher
