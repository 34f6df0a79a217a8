// SPDX-License-Identifier: Apache-2.0
// The API server as a source: what it reports, and recovery from each failure.
#include "kube/api_server.hpp"

#include "source_fixture.hpp"

#include <algorithm>

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using kube_test::FakeApiServer;
using kube_test::Fault;
using kube_test::podJson;
using testing::HasSubstr;
using testing::IsEmpty;

class ApiServerTest : public test_support::SourceFixture {
 protected:
  ApiServerTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.file = folder.write("ca.crt", authority.certificate());
    access.token.file = folder.write("token", "secret-1");
  }
  ~ApiServerTest() override { EXPECT_THAT(server.violations(), IsEmpty()); }

  void start() { tasks.spawn(source.run()); }
  /// Lists and watches one pod.
  void startWell() {
    server.put(podJson("checkout-1", "uid-1"));
    start();
    // The answer has been read, not only sent: the test may now advance the clock.
    ASSERT_TRUE(soon([&] { return server.watches() == 1 && is(Health::up) && count(Outcome::ok) == 2; }));
    ASSERT_TRUE(pods.find("uid-1"));
  }
  std::size_t lists() {
    const auto all = server.requests();
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [](const auto& one) { return !one.query.contains("watch"); }));
  }
  kube_test::Seen latest() { return server.requests().back(); }

  /// A pod that takes `bytes` in JSON. Its author writes a sixth of that: the server escapes each character.
  static std::string longPod(const std::string& uid, std::size_t bytes) {
    return podJson("long-" + uid, uid, "node-1", std::string(bytes / 6, '\x01'));
  }

  // Small, so that little is sent: 24 times the length of an ordinary pod's line, or 12 of the longest lines.
  static constexpr AnswerLimits kLimits{192UL << 10, 16UL << 10};
  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
  ApiServer source{loop.get_executor(), [this] { return Result<Access>(access); }, "node-1", pods};
  ApiServer limited{loop.get_executor(), [this] { return Result<Access>(access); }, "node-1", pods, kLimits};
};

TEST_F(ApiServerTest, FollowsThePodsOfThisNode) {
  server.put(podJson("elsewhere-1", "uid-9", "node-2"));
  startWell();
  EXPECT_EQ(pods.size(), 1U);
  server.put(podJson("checkout-2", "uid-2"));
  EXPECT_TRUE(soon([&] { return pods.find("uid-2") != nullptr; }));
  server.put(podJson("checkout-2", "uid-2", "node-1", "shop/checkout:1.9.0"));
  EXPECT_TRUE(soon([&] { return pods.find("uid-2")->json.find("1.9.0") != std::string::npos; }));
  server.remove("uid-1");
  EXPECT_TRUE(soon([&] { return pods.find("uid-1") == nullptr; }));
  EXPECT_EQ(lists(), 1U);
  EXPECT_EQ(state().error, "");
}

TEST_F(ApiServerTest, TheFirstListIsAnsweredFromTheCache) {
  startWell();
  EXPECT_EQ(server.requests().front().query.at("resourceVersion"), "0");
}

TEST_F(ApiServerTest, PagesAreFollowedAndReadAgainWhenOneIsGone) {
  for (int i = 0; i < 1001; ++i) server.put(podJson("p-" + std::to_string(i), "uid-" + std::to_string(i)));
  server.pageEverything(true);
  server.expireContinue();
  start();
  EXPECT_TRUE(soon([&] { return pods.size() == 1001U && server.watches() == 1; }));
  // One page, an expired one, and then three pages that are read from etcd.
  EXPECT_EQ(lists(), 5U);
  EXPECT_EQ(server.requests().at(2).query.contains("resourceVersion"), false);
  EXPECT_EQ(count(Outcome::gone), 1U);
}

TEST_F(ApiServerTest, AServerMayCloseBehindEachPage) {
  for (int i = 0; i < 1001; ++i) server.put(podJson("p-" + std::to_string(i), "uid-" + std::to_string(i)));
  server.pageEverything(true);
  server.closeBehindAnswers();
  start();
  EXPECT_TRUE(soon([&] { return pods.size() == 1001U && server.watches() == 1; })) << state().error;
  EXPECT_EQ(lists(), 3U);
  EXPECT_EQ(count(Outcome::unreachable), 0U);
}

TEST_F(ApiServerTest, AWatchThatIsCutGoesOnWhereItWas) {
  startWell();
  server.bookmark();
  const auto marked = std::to_string(server.version());
  server.put(podJson("checkout-2", "uid-2"));
  ASSERT_TRUE(soon([&] { return pods.find("uid-2") != nullptr; }));
  clock.advance(loop, 30s);
  server.endWatches(FakeApiServer::End::cut);
  ASSERT_TRUE(soon([&] { return server.watches() == 0; }));
  server.put(podJson("checkout-3", "uid-3"));
  server.remove("uid-1");
  EXPECT_TRUE(eventually([&] { return pods.find("uid-3") && !pods.find("uid-1"); }));
  EXPECT_EQ(lists(), 1U);
  EXPECT_EQ(latest().query.at("resourceVersion"), std::to_string(std::stoull(marked) + 1));
  EXPECT_TRUE(is(Health::up)) << "an interrupted watch alone is not a failure";
}

TEST_F(ApiServerTest, AWatchEndsByItselfAndBeginsAgain) {
  startWell();
  server.bookmark();
  clock.advance(loop, 5min);
  server.endWatches(FakeApiServer::End::clean);
  EXPECT_TRUE(eventually([&] { return server.watches() == 1 && server.requests().size() == 3; }));
  EXPECT_EQ(latest().query.at("resourceVersion"), std::to_string(server.version()));
  EXPECT_EQ(state().error, "");
}

TEST_F(ApiServerTest, AnExpiredHistoryIsListedAgainAtOnce) {
  for (const bool byStatus : {false, true}) {
    server.sayGoneByStatus(byStatus);
    if (!byStatus) startWell();
    const auto before = lists();
    const auto ok = count(Outcome::ok);
    clock.advance(loop, 30s);
    server.compact();
    const auto uid = byStatus ? "uid-5" : "uid-4";
    server.put(podJson("new", uid));
    ASSERT_TRUE(soon([&] { return pods.find(uid) != nullptr; }));
    server.compact();
    server.endWatches(FakeApiServer::End::cut);
    // The list and the watch after it; without the status, an accepted watch reports the expired history,
    // too.
    const auto answers = ok + (byStatus ? 2 : 3);
    EXPECT_TRUE(eventually(
        [&] { return lists() == before + 1 && server.watches() == 1 && count(Outcome::ok) == answers; }));
    EXPECT_TRUE(is(Health::up));
    EXPECT_TRUE(pods.find(uid));
  }
  EXPECT_EQ(count(Outcome::gone), 2U);
}

TEST_F(ApiServerTest, AListThatTheCacheCannotAnswerIsReadFromEtcd) {
  server.failOldVersions(true);
  server.put(podJson("checkout-1", "uid-1"));
  start();
  EXPECT_TRUE(eventually([&] { return pods.find("uid-1") != nullptr && is(Health::up); }));
  EXPECT_EQ(lists(), 2U);
}

TEST_F(ApiServerTest, AnEventThatCannotBeReadMakesItListAgain) {
  startWell();
  server.endWatches(FakeApiServer::End::garbage);
  EXPECT_TRUE(eventually([&] { return lists() == 2 && server.watches() == 1; }));
  EXPECT_EQ(count(Outcome::malformed), 1U);
}

TEST_F(ApiServerTest, APodMayBeSevenTimesAsLongAsEtcdsObjects) {
  static_assert(AnswerLimits().lineBytes > 7 * (3UL << 19));
  startWell();
  server.put(longPod("uid-long", 5UL << 20));
  server.put(podJson("checkout-2", "uid-2"));
  EXPECT_TRUE(soon([&] { return pods.find("uid-2") != nullptr; }));
  EXPECT_TRUE(pods.find("uid-long"));
  EXPECT_EQ(count(Outcome::too_large), 0U);
}

TEST_F(ApiServerTest, AChangeThatIsTooLargeHidesNoOtherChange) {
  server.put(podJson("checkout-1", "uid-1"));
  tasks.spawn(limited.run());
  ASSERT_TRUE(soon([&] { return server.watches() == 1 && is(Health::up) && count(Outcome::ok) == 2; }));
  server.put(longPod("uid-long", 3 * kLimits.lineBytes));
  server.put(podJson("checkout-2", "uid-2"));
  EXPECT_TRUE(soon([&] { return pods.find("uid-2") != nullptr; })) << "the same watch continues";
  EXPECT_EQ(count(Outcome::too_large), 1U);
  EXPECT_TRUE(is(Health::up));
  for (int i = 0; i < 5; ++i) server.put(longPod("uid-long", 3 * kLimits.lineBytes));
  server.put(podJson("checkout-3", "uid-3"));
  EXPECT_TRUE(soon([&] { return pods.find("uid-3") != nullptr; }));
  EXPECT_EQ(lists(), 1U) << "the pod's author must not trigger lists at will";
  clock.advance(loop, 5min);
  server.endWatches(FakeApiServer::End::clean);
  EXPECT_TRUE(eventually([&] { return pods.find("uid-long") != nullptr && count(Outcome::ok) == 4; }));
  EXPECT_EQ(lists(), 2U);
  clock.advance(loop, 5min);
  server.endWatches(FakeApiServer::End::clean);
  EXPECT_TRUE(eventually([&] { return server.requests().size() == 5 && server.watches() == 1; }));
  EXPECT_EQ(lists(), 2U) << "no change was missed this time";
}

TEST_F(ApiServerTest, AListThatIsTooLargeIsReadInSmallerPages) {
  for (int i = 0; i < 8; ++i) server.put(longPod("uid-" + std::to_string(i), kLimits.bodyBytes / 3));
  for (int i = 10; i < 40; ++i) server.put(podJson("p-" + std::to_string(i), "uid-" + std::to_string(i)));
  tasks.spawn(limited.run());
  ASSERT_TRUE(soon([&] { return is(Health::up) && count(Outcome::ok) == 2; }));
  EXPECT_EQ(pods.size(), 38U);
  EXPECT_GE(count(Outcome::too_large), 1U);
  EXPECT_LE(lists(), 30U);
  const auto before = lists();
  const auto skipped = count(Outcome::too_large);
  for (int i = 0; i < 8; ++i) server.remove("uid-" + std::to_string(i));
  ASSERT_TRUE(soon([&] { return count(Outcome::too_large) == skipped + 8; }))
      << "the deletion events are as long";
  clock.advance(loop, 30s);
  server.endWatches(FakeApiServer::End::clean);
  ASSERT_TRUE(eventually([&] { return lists() == before + 1 && server.watches() == 1; }));
  EXPECT_EQ(pods.size(), 30U);
  const auto all = server.requests();
  EXPECT_EQ(all.at(all.size() - 2).query.at("limit"), "500") << "the page size is the normal one again";
}

TEST_F(ApiServerTest, AnObjectThatIsTooLargeAloneIsTriedAtGrowingPauses) {
  server.put(longPod("uid-long", 2 * kLimits.bodyBytes));
  tasks.spawn(limited.run());
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  for (int second = 0; second < 200; second += 5) {
    clock.advance(loop, 5s);
    settle();
  }
  // Each attempt tries four page sizes, and 1, 2, 4 ... 60 s pass between attempts.
  EXPECT_LE(lists(), 4 * 12U);
  EXPECT_GE(lists(), 4 * 3U);
}

TEST_F(ApiServerTest, AMalformedPodHidesNoOtherPod) {
  startWell();
  server.put(R"({"metadata":{"name":"odd","namespace":"evil","uid":"uid-odd",
                 "annotations":{"kubernetes.io/config.mirror":""}},"spec":{"nodeName":"node-1"}})");
  server.put(podJson("checkout-2", "uid-2"));
  EXPECT_TRUE(soon([&] { return pods.find("uid-2") != nullptr; }));
  EXPECT_EQ(count(Outcome::malformed), 1U);
  EXPECT_TRUE(is(Health::up));
  EXPECT_EQ(lists(), 1U);
}

TEST_F(ApiServerTest, AnErrorInTheWatchIsTriedAgainFromThere) {
  startWell();
  server.endWatches(FakeApiServer::End::error_event);
  EXPECT_TRUE(eventually([&] { return server.requests().size() == 3 && is(Health::up); }));
  EXPECT_EQ(lists(), 1U);
  EXPECT_EQ(count(Outcome::server_error), 1U);
  EXPECT_THAT(state().error, HasSubstr("etcd is away"));
}

TEST_F(ApiServerTest, AHalfLineIsNotAnEvent) {
  startWell();
  clock.advance(loop, 30s);
  server.endWatches(FakeApiServer::End::within_line);
  EXPECT_TRUE(eventually([&] { return server.requests().size() == 3 && server.watches() == 1; }));
  EXPECT_EQ(lists(), 1U);
}

TEST_F(ApiServerTest, ASilentWatchIsGivenUp) {
  startWell();
  server.silenceWatches(true);
  clock.advance(loop, 6min);
  EXPECT_TRUE(is(Health::up)) << "a watch lasts at least 6 minutes";
  clock.advance(loop, 200s);
  EXPECT_TRUE(eventually([&] { return is(Health::failing); }))
      << "a watch lasts at most 9 minutes, plus half a minute";
  EXPECT_GE(count(Outcome::timeout), 1U);
  server.silenceWatches(false);
  server.put(podJson("checkout-2", "uid-2"));
  EXPECT_TRUE(eventually([&] { return is(Health::up) && pods.find("uid-2") != nullptr; }));
}

TEST_F(ApiServerTest, RetryAfterIsRespected) {
  server.trouble({Fault::status, 429, "30"});
  start();
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  EXPECT_EQ(count(Outcome::throttled), 1U);
  clock.advance(loop, 23s);
  EXPECT_EQ(server.requests().size(), 1U);
  server.heal();
  EXPECT_TRUE(eventually([&] { return is(Health::up); }));
}

TEST_F(ApiServerTest, ALongRetryAfterIsLimited) {
  server.trouble({Fault::status, 429, "4000000000", "", 1});
  start();
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  clock.advance(loop, 6min);
  EXPECT_TRUE(eventually([&] { return is(Health::up); }));
}

TEST_F(ApiServerTest, TriesComeLaterAndLater) {
  server.trouble({Fault::status, 500});
  start();
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  for (int second = 0; second < 600; second += 5) {
    clock.advance(loop, 5s);
    settle();
  }
  // 1, 2, 4 ... 60 s, give or take a fifth.
  EXPECT_LE(server.requests().size(), 20U);
  EXPECT_GE(server.requests().size(), 10U);
}

TEST_F(ApiServerTest, ARefusalSaysWhatIsMissing) {
  server.trouble({Fault::status, 403, "", "pods is forbidden: User \"x\" cannot list resource \"pods\""});
  start();
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  EXPECT_THAT(state().error, HasSubstr("list pods"));
  EXPECT_THAT(state().error, HasSubstr("list and watch pods"));
  EXPECT_THAT(state().error, HasSubstr("cannot list resource"));
  server.heal();
  EXPECT_TRUE(eventually([&] { return is(Health::up); }));
}

TEST_F(ApiServerTest, ARefusedWatchNamesTheVerb) {
  server.put(podJson("checkout-1", "uid-1"));
  start();
  ASSERT_TRUE(soon([&] { return server.watches() == 1; }));
  server.trouble({Fault::status, 403, "", "no"});
  server.endWatches(FakeApiServer::End::cut);
  EXPECT_TRUE(eventually([&] { return is(Health::failing) && count(Outcome::forbidden) > 0; }));
  EXPECT_THAT(state().error, HasSubstr("watch pods"));
  EXPECT_TRUE(pods.find("uid-1")) << "known pods stay";
}

TEST_F(ApiServerTest, ARotatedTokenHealsIt) {
  startWell();
  server.acceptTokens({"secret-2"});
  server.endWatches(FakeApiServer::End::cut);
  ASSERT_TRUE(eventually([&] { return is(Health::failing) && count(Outcome::unauthorized) > 0; }));
  EXPECT_THAT(state().error, HasSubstr("does not accept our token"));
  folder.write("token", "secret-2");
  EXPECT_TRUE(eventually([&] { return is(Health::up); }));
  EXPECT_EQ(lists(), 1U);
}

TEST_F(ApiServerTest, EveryFailureIsReportedKeepsThePodsAndHeals) {
  startWell();
  std::string uid = "uid-x";
  for (const auto fault : {Fault::silent_accept, Fault::silent_answer, Fault::cut_before_answer,
                           Fault::not_http, Fault::huge_header, Fault::redirect, Fault::status}) {
    clock.advance(loop, 30s);  // so that the interruption alone is not the failure
    server.trouble({fault, 503});
    server.endWatches(FakeApiServer::End::cut);
    EXPECT_TRUE(eventually([&] { return is(Health::failing); })) << static_cast<int>(fault);
    EXPECT_TRUE(pods.find("uid-1"));
    EXPECT_NE(state().error, "");
    server.heal();
    uid += "x";
    server.put(podJson("pod-" + uid, uid));
    EXPECT_TRUE(eventually([&] { return is(Health::up) && pods.find(uid); })) << static_cast<int>(fault);
  }
}

TEST_F(ApiServerTest, AListThatCannotBeReadHeals) {
  server.put(podJson("checkout-1", "uid-1"));
  server.trouble({Fault::not_json});
  start();
  for (const auto fault : {Fault::not_json, Fault::cut_body, Fault::silent_body, Fault::huge_body}) {
    server.trouble({fault});
    const auto failures = state().requests;
    EXPECT_TRUE(eventually([&] { return is(Health::failing) && state().requests != failures; }))
        << static_cast<int>(fault);
  }
  server.heal();
  EXPECT_TRUE(eventually([&] { return pods.find("uid-1") != nullptr; }));
}

TEST_F(ApiServerTest, AnotherCaIsNotTrustedUntilItComes) {
  const kube_test::Authority next("next");
  startWell();
  server.certify(next.server("IP:127.0.0.1"));
  server.endWatches(FakeApiServer::End::cut);
  ASSERT_TRUE(eventually([&] { return is(Health::failing) && count(Outcome::tls) > 0; }));
  folder.write("ca.crt", next.certificate());
  EXPECT_TRUE(eventually([&] { return is(Health::up); }));
}

TEST_F(ApiServerTest, MissingCredentialsAreReportedAndItGoesOn) {
  std::filesystem::remove(access.token.file);
  start();
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  EXPECT_EQ(count(Outcome::credentials), 1U);
  EXPECT_THAT(state().error, HasSubstr(access.token.file));
  folder.write("token", "secret-1");
  EXPECT_TRUE(eventually([&] { return is(Health::up); }));
}

}  // namespace
}  // namespace fallbackd::kube
