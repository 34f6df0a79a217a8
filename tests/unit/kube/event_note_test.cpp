// SPDX-License-Identifier: Apache-2.0
// Events as sent to the API: the content of their messages, and their names.
#include "kube/event_note.hpp"

#include "kube/event_store.hpp"

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;
using testing::Not;

EventNote note() {
  EventNote one;
  one.namespaceName = "shop";
  one.pod = "checkout-1";
  one.podUid = "uid-1";
  one.container = "main";
  one.type = EventNote::Type::warning;
  one.reason = "WaitsForImage";
  one.message = "The image cannot be pulled";
  one.at = parseRfc3339("2026-03-01T12:00:05.9Z").value();
  return one;
}

EventBatch batch() {
  return {note(), parseRfc3339("2026-03-01T12:00:00Z").value(), 3};
}

TEST(EventMessage, IsOneLineOfValidUtf8) {
  EXPECT_EQ(eventMessage("a\r\nb\tc\x7f"s + "d\0e"s), "a  b c d e");
  EXPECT_EQ(eventMessage("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8d\xba"),
            "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8d\xba");
  EXPECT_EQ(eventMessage("\xc2\x9b"
                         "31m"),
            "31m")
      << "C1 characters also begin escape sequences";
  for (const auto& wrong :
       {"\xff"s, "\xc3"s, "\xc0\xaf"s, "\xed\xa0\x80"s, "\xf4\x90\x80\x80"s, "\xe2\x82"s}) {
    EXPECT_EQ(eventMessage("x" + wrong + "y"), "x" + std::string(wrong.size(), '?') + "y");
  }
}

TEST(EventMessage, IsCutBetweenCharacters) {
  EXPECT_EQ(eventMessage(std::string(1024, 'a')), std::string(1024, 'a'));
  EXPECT_EQ(eventMessage(std::string(1025, 'a')), std::string(1021, 'a') + "...");
  for (std::size_t shift = 0; shift < 4; ++shift) {
    std::string text(shift, 'a');
    while (text.size() < 2000) text += "\xf0\x9f\x8d\xba";
    const auto cut = eventMessage(text);
    EXPECT_LE(cut.size(), 1024U);
    EXPECT_GT(cut.size(), 1015U);
    EXPECT_THAT(cut, Not(HasSubstr("?")));
    EXPECT_EQ((cut.size() - 3 - shift) % 4, 0U);
  }
  EXPECT_LE(eventMessage(std::string(1 << 20, '\xff')).size(), 1024U);
}

TEST(EventMessage, HasNoSecrets) {
  const struct {
    std::string text;
    std::string told;
  } cases[] = {
      {R"(failed to do request: Get "https://s3.example.com/blob?X-Amz-Signature=abc&X-Amz-Date=1": EOF)",
       R"(failed to do request: Get "https://s3.example.com/blob?***": EOF)"},
      {"GET https://user:pa55@r.example.com/v2/: 401", "GET https://***@r.example.com/v2/: 401"},
      {"proxy http://u:p@ss@proxy:3128 refuses", "proxy http://***@proxy:3128 refuses"},
      {"https://r/v2/?service=a&token=b: denied", "https://r/v2/?***: denied"},
      {"header Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJz.c2ln was refused",
       "header Authorization: Bearer *** was refused"},
      {R"({"identitytoken":"c2VjcmV0LXNlY3JldA==","status":"1"})", R"({"identitytoken":"***","status":"1"})"},
      {"login with password=hunter2 failed", "login with password=*** failed"},
      {"password: hunter2", "password: ***"},
      {R"(answered {\"password\":\"hunter2\"})", R"(answered {\"password\":\"***\"})"},
      {"oauth_token=abc and client-secret=def", "oauth_token=*** and client-secret=***"},
      {"Basic dXNlcjpwYXNzd29yZA==", "Basic ***"},
      // Everything else stays unchanged.
      {R"(Head "https://r:5000/v2/shop/checkout/manifests/1.8.3": dial tcp 10.0.0.1:443: connect: connection refused)",
       R"(Head "https://r:5000/v2/shop/checkout/manifests/1.8.3": dial tcp 10.0.0.1:443: connect: connection refused)"},
      {"failed to fetch oauth token: unexpected status", "failed to fetch oauth token: unexpected status"},
      {"failed to fetch anonymous token: denied", "failed to fetch anonymous token: denied"},
      {"basic auth is not supported", "basic auth is not supported"},
      {"image r/shop@sha256:0123 not found", "image r/shop@sha256:0123 not found"},
  };
  for (const auto& one : cases) EXPECT_EQ(eventMessage(one.text), one.told);
}

TEST(EventName, IsADnsNameEvenForALongPodName) {
  EXPECT_EQ(eventName("checkout-1", 0x17c0ffee), "checkout-1.17c0ffee");
  const std::string length236 = std::string(235, 'a') + "-";
  EXPECT_EQ(eventName(length236 + "bcd", UINT64_MAX), std::string(235, 'a') + ".ffffffffffffffff");
  EXPECT_EQ(eventName(std::string(253, 'a'), UINT64_MAX).size(), 253U);
}

TEST(EventObject, IsWhatTheApiAccepts) {
  kube_test::EventStore store;
  kube_test::Seen request;
  request.method = "POST";
  request.path = "/api/v1/namespaces/shop/events";
  request.contentType = "application/json";
  request.body = eventObject(batch(), "checkout-1.17", "node-1");
  const auto reply = store.handle(request);
  EXPECT_EQ(reply.status, 201U) << reply.message;
  EXPECT_EQ(request.body,
            R"({"kind":"Event","apiVersion":"v1","metadata":{"name":"checkout-1.17","namespace":"shop"},)"
            R"("involvedObject":{"kind":"Pod","apiVersion":"v1","namespace":"shop","name":"checkout-1",)"
            R"("uid":"uid-1","fieldPath":"spec.containers{main}"},"type":"Warning","reason":"WaitsForImage",)"
            R"("message":"The image cannot be pulled","source":{"component":"fallbackd","host":"node-1"},)"
            R"("reportingComponent":"fallbackd","reportingInstance":"node-1",)"
            R"("firstTimestamp":"2026-03-01T12:00:00Z","lastTimestamp":"2026-03-01T12:00:05Z","count":3})");
  EXPECT_EQ(eventPatch(batch(), 7),
            R"({"count":7,"lastTimestamp":"2026-03-01T12:00:05Z","message":"The image cannot be pulled"})");
}

/// The store must refuse invalid Events: otherwise the other tests prove nothing.
TEST(EventObject, TheStoreOfTheTestsIsStrict) {
  kube_test::EventStore store;
  const auto refuses = [&](const std::string& from, const std::string& to, const std::string& why) {
    kube_test::Seen request;
    request.method = "POST";
    request.path = "/api/v1/namespaces/shop/events";
    request.contentType = "application/json";
    request.body = eventObject(batch(), "checkout-1.17", "node-1");
    const auto at = request.body.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    request.body.replace(at, from.size(), to);
    const auto reply = store.handle(request);
    EXPECT_EQ(reply.status, 422U) << to;
    EXPECT_THAT(reply.message, HasSubstr(why));
    EXPECT_FALSE(reply.violation.empty());
  };
  refuses("checkout-1.17", "Checkout_1", "DNS name");
  refuses(R"("namespace":"shop"},"involved)", R"("namespace":"bank"},"involved)", "metadata.namespace");
  refuses(R"("namespace":"shop","name":"checkout-1")", R"("namespace":"bank","name":"checkout-1")",
          "does not match");
  refuses(R"("uid":"uid-1",)", "", "uid");
  refuses("spec.containers{main}", "main", "fieldPath");
  refuses("reportingComponent", "reportingController", "unknown field");
  refuses("The image", "The\\nimage", "control");
  refuses("The image", std::string(1025, 'a'), "1024");
  refuses("12:00:05Z", "12:00:05.123Z", "timestamps");
  refuses("12:00:00Z", "12:00:06Z", "before it began");
  refuses(R"("type":"Warning")", R"("type":"Error")", "type");
  refuses(R"("count":3)", R"("count":0)", "count");
}

}  // namespace
}  // namespace fallbackd::kube
