// SPDX-License-Identifier: Apache-2.0
// Events with an API server that accepts them, refuses them, hangs, and recovers.
#include "kube/event_recorder.hpp"

#include "source_fixture.hpp"

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using kube_test::EventStore;
using kube_test::FakeApiServer;
using kube_test::Fault;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class EventRecorderTest : public test_support::SourceFixture {
 protected:
  EventRecorderTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.text = authority.certificate();
    access.token.text = "secret-1";
    tasks.spawn(recorder.run());
  }
  ~EventRecorderTest() override { EXPECT_THAT(server.violations(), IsEmpty()); }

  void tell(const std::string& reason, const std::string& message = "m",
            const std::string& namespaceName = "shop", const std::string& pod = "checkout-1") {
    EventNote note;
    note.namespaceName = namespaceName;
    note.pod = pod;
    note.podUid = "uid-" + pod;
    note.container = "main";
    note.reason = reason;
    note.message = message;
    note.at = clock.wall();
    recorder.add(std::move(note));
  }
  /// REASON*COUNT of each Event that the server has stored.
  std::vector<std::string> kept() {
    std::vector<std::string> list;
    for (const auto& event : server.events()) {
      list.push_back(std::string(event.at("reason").as_string()) + "*" +
                     std::to_string(event.at("count").as_int64()));
    }
    return list;
  }
  bool keeps(const std::vector<std::string>& wanted) {
    return eventually([&] { return kept() == wanted; });
  }
  [[nodiscard]] std::uint64_t results(EventResult result) const {
    return told.results.at(static_cast<std::size_t>(result));
  }

  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
  EventState told;
  int tellings = 0;
  EventRecorder recorder{loop.get_executor(), [this] { return Result<Access>(access); }, "node-1",
                         [this](EventState state) {
                           told = std::move(state);
                           ++tellings;
                         }};
};

TEST_F(EventRecorderTest, WritesOneAfterTheOtherAndCountsRepetitions) {
  tell("WaitsForImage", "pull\nfailed");
  tell("FallbackServing", "serves");
  EXPECT_EQ(server.connections(), 0U);
  ASSERT_TRUE(keeps({"WaitsForImage*1", "FallbackServing*1"}));
  EXPECT_EQ(server.events()[0].at("message").as_string(), "pull failed");
  ASSERT_TRUE(eventually([&] { return told.waiting == 0 && results(EventResult::created) == 2; }));
  EXPECT_EQ(told.health, Health::up);
  tell("WaitsForImage", "again");
  ASSERT_TRUE(keeps({"WaitsForImage*2", "FallbackServing*1"}));
  EXPECT_EQ(server.events()[0].at("message").as_string(), "again");
  ASSERT_TRUE(eventually([&] { return results(EventResult::counted) == 1; }));
  EXPECT_THAT(server.eventRequests(), testing::SizeIs(3));
}

TEST_F(EventRecorderTest, ABurstNeedsOneConnection) {
  for (int i = 0; i < 10; ++i) tell("FallbackServing", "m", "shop", "pod-" + std::to_string(i));
  ASSERT_TRUE(eventually([&] { return server.events().size() == 10; }));
  EXPECT_EQ(server.connections(), 1U);
  clock.advance(loop, 1min);
  tell("FallbackHandedBack");
  ASSERT_TRUE(eventually([&] { return server.events().size() == 11; }));
  EXPECT_EQ(server.connections(), 2U) << "an idle connection is not reused";
}

TEST_F(EventRecorderTest, BacksOffWhileTheServerIsInTroubleAndHeals) {
  const struct {
    kube_test::Trouble trouble;
    Outcome outcome;
  } cases[] = {
      {{Fault::status, 500}, Outcome::server_error},      {{Fault::status, 503}, Outcome::server_error},
      {{Fault::status, 429, "2"}, Outcome::throttled},    {{Fault::status, 401}, Outcome::unauthorized},
      {{Fault::cut_before_answer}, Outcome::unreachable}, {{Fault::not_http}, Outcome::malformed},
      {{Fault::silent_answer}, Outcome::timeout},         {{Fault::silent_body}, Outcome::timeout}};
  std::size_t round = 0;
  for (const auto& one : cases) {
    SCOPED_TRACE(toString(one.outcome));
    server.troubleEvents(one.trouble);
    const auto failures = results(EventResult::failed);
    tell("FallbackServing", "m", "shop", "pod-" + std::to_string(++round));
    ASSERT_TRUE(eventually([&] { return results(EventResult::failed) > failures + 1; }));
    EXPECT_EQ(told.health, Health::failing);
    EXPECT_EQ(told.outcome, one.outcome);
    EXPECT_FALSE(told.error.empty());
    EXPECT_EQ(told.waiting, 1U);
    server.troubleEvents({});
    ASSERT_TRUE(eventually([&] { return server.events().size() == round && told.health == Health::up; }));
    EXPECT_EQ(told.waiting, 0U);
  }
}

TEST_F(EventRecorderTest, RespectsRetryAfter) {
  server.troubleEvents({Fault::status, 429, "100", "too many", 1});
  tell("FallbackServing");
  ASSERT_TRUE(eventually([&] { return told.outcome == Outcome::throttled; }));
  const auto asked = server.requests().size();
  clock.advance(loop, 79s);
  settle();
  EXPECT_EQ(server.requests().size(), asked);
  EXPECT_TRUE(keeps({"FallbackServing*1"}));
}

TEST_F(EventRecorderTest, ALongRetryAfterIsLimited) {
  server.troubleEvents({Fault::status, 429, "4000000000", "go away", 1});
  tell("FallbackServing");
  ASSERT_TRUE(eventually([&] { return told.outcome == Outcome::throttled; }));
  clock.advance(loop, 7min);
  EXPECT_TRUE(soon([&] { return !server.events().empty(); }));
}

TEST_F(EventRecorderTest, AMissingAnswerDoesNotDuplicateTheEvent) {
  for (const auto fault : {Fault::cut_before_answer, Fault::silent_answer}) {
    const auto before = server.events().size();
    server.troubleEvents({fault, 500, "", "", 1}, FakeApiServer::When::after);
    tell("FallbackServing", "m", "shop", "pod-" + std::to_string(before));
    ASSERT_TRUE(eventually([&] { return results(EventResult::created) == before + 1; }));
    EXPECT_EQ(server.events().size(), before + 1);
  }
}

TEST_F(EventRecorderTest, ANameThatIsTakenIsReplaced) {
  tell("FallbackServing", "m", "shop", "a");
  ASSERT_TRUE(keeps({"FallbackServing*1"}));
  server.troubleEvents({Fault::status, 409, "", "already exists", 1});
  tell("FallbackHandedBack", "m", "shop", "a");
  ASSERT_TRUE(keeps({"FallbackServing*1", "FallbackHandedBack*1"}));
  const auto seen = server.eventRequests();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_NE(boost::json::parse(seen[1].body).at("metadata"), boost::json::parse(seen[2].body).at("metadata"));
  EXPECT_EQ(told.health, Health::up);
}

TEST_F(EventRecorderTest, WhatTheServerForgotIsCreatedAgain) {
  tell("FallbackExited");
  ASSERT_TRUE(keeps({"FallbackExited*1"}));
  server.withEvents([](EventStore& store) { store.expire(); });
  tell("FallbackExited");
  ASSERT_TRUE(keeps({"FallbackExited*1"}));
  EXPECT_EQ(server.eventRequests().size(), 3U) << "create, patch, create";
}

TEST_F(EventRecorderTest, WithoutTheRightToCreateItTriesSeldomAndHeals) {
  server.withEvents([](EventStore& store) { store.grant("bank", {}); });
  tell("WaitsForImage", "m", "bank", "vault-1");
  ASSERT_TRUE(eventually([&] { return !told.forbiddenIn.empty(); }));
  EXPECT_THAT(told.forbiddenIn, ElementsAre("bank"));
  EXPECT_THAT(told.error, HasSubstr("allows to create events is missing"));
  EXPECT_EQ(told.outcome, Outcome::forbidden);
  tell("WaitsForImage");
  ASSERT_TRUE(keeps({"WaitsForImage*1"})) << "other namespaces are not affected";
  ASSERT_TRUE(eventually([&] { return told.health == Health::up; }));
  EXPECT_THAT(told.forbiddenIn, ElementsAre("bank"));
  clock.advance(loop, 30s);
  EXPECT_EQ(server.eventRequests().size(), 2U);
  server.withEvents([](EventStore& store) { store.grant("bank", {"create"}); });
  ASSERT_TRUE(keeps({"WaitsForImage*1", "WaitsForImage*1"}));
  ASSERT_TRUE(eventually([&] { return told.forbiddenIn.empty(); }));
}

TEST_F(EventRecorderTest, WithoutTheRightToPatchRepetitionsAreDropped) {
  server.withEvents([](EventStore& store) { store.grant("*", {"create"}); });
  tell("FallbackExited");
  ASSERT_TRUE(keeps({"FallbackExited*1"}));
  tell("FallbackExited");
  ASSERT_TRUE(eventually([&] { return results(EventResult::dropped_repeat) == 1; }));
  tell("FallbackExited");
  ASSERT_TRUE(eventually([&] { return results(EventResult::dropped_repeat) == 2; }));
  EXPECT_EQ(server.eventRequests().size(), 2U) << "the patch is not retried";
  EXPECT_EQ(told.health, Health::up);
  tell("FallbackServing");
  EXPECT_TRUE(keeps({"FallbackExited*1", "FallbackServing*1"}));
}

TEST_F(EventRecorderTest, WhatTheServerRefusesForGoodIsDropped) {
  server.withEvents([](EventStore& store) { store.terminate("gone"); });
  tell("FallbackHandedBack", "m", "gone");
  ASSERT_TRUE(eventually([&] { return results(EventResult::dropped_refused) == 1; }));
  EXPECT_THAT(told.forbiddenIn, IsEmpty()) << "the namespace is being deleted: no right is missing";
  server.troubleEvents({Fault::status, 422, "", "an admission webhook denied it", 1});
  tell("FallbackServing");
  ASSERT_TRUE(eventually([&] { return results(EventResult::dropped_refused) == 2; }));
  EXPECT_THAT(told.error, HasSubstr("webhook"));
  EXPECT_EQ(told.waiting, 0U);
  tell("FallbackExited");
  EXPECT_TRUE(keeps({"FallbackExited*1"}));
}

TEST_F(EventRecorderTest, LateEventsSayWhenItHappened) {
  server.troubleEvents({Fault::status, 500});
  const auto when = rfc3339(clock.wall()).substr(0, 19) + "Z";
  tell("WaitsForImage");
  clock.advance(loop, 5min);
  server.troubleEvents({});
  ASSERT_TRUE(keeps({"WaitsForImage*1"}));
  EXPECT_EQ(server.events()[0].at("firstTimestamp").as_string(), when);
}

TEST_F(EventRecorderTest, AMissingTokenIsAFailureLikeOthers) {
  access.token = {"/nonexistent/token", ""};
  tell("FallbackServing");
  ASSERT_TRUE(eventually([&] { return told.outcome == Outcome::credentials; }));
  access.token = {"", "secret-1"};
  EXPECT_TRUE(keeps({"FallbackServing*1"}));
}

}  // namespace
}  // namespace fallbackd::kube
