// SPDX-License-Identifier: Apache-2.0
// Which requests are admitted, and which clients are disconnected.
#include "http/access.hpp"

#include "base/query.hpp"
#include "few_descriptors.hpp"
#include "http/clients.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::http {
namespace {

using namespace std::chrono_literals;

TEST(Token, IsAcceptedAsBearerAndAsPassword) {
  const test::TempFolder folder;
  Token token(folder.write("token", "0123456789abcdef\n"));
  ASSERT_TRUE(token.refresh());
  EXPECT_TRUE(token.admits("Bearer 0123456789abcdef"));
  EXPECT_TRUE(token.admits("bearer  0123456789abcdef "));
  EXPECT_TRUE(token.admits("Basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVm"));  // anybody:0123456789abcdef
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer 0123456789abcdeg", "Bearer 0123456789abcde",
                            "0123456789abcdef", "Bearer 0123456789abcdef0", "Basic", "Basic !!!!",
                            "Basic MDEyMzQ1Njc4OWFiY2RlZg==", "Digest 0123456789abcdef"}) {
    EXPECT_FALSE(token.admits(wrong)) << wrong;
  }
}

TEST(Token, FollowsItsFileAndKeepsTheLastGoodOne) {
  const test::TempFolder folder;
  const auto file = folder.write("token", "0123456789abcdef");
  Token token(file);
  EXPECT_FALSE(token.admits("Bearer 0123456789abcdef")) << "not read yet";
  ASSERT_TRUE(token.refresh());
  folder.write("token", "another-token-of-mine");
  ASSERT_TRUE(token.refresh());
  EXPECT_FALSE(token.admits("Bearer 0123456789abcdef"));
  EXPECT_TRUE(token.admits("Bearer another-token-of-mine"));
  folder.write("token", "short");
  const auto refused = token.refresh();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("fewer than 16 characters"), std::string::npos);
  EXPECT_TRUE(token.admits("Bearer another-token-of-mine"));
  EXPECT_TRUE(token.refresh()) << "the same file is not reported twice";
  EXPECT_FALSE(token.admits("Bearer short"));
}

TEST(Token, OneThatCannotBeReadNowIsReadLater) {
  const test::TempFolder folder;
  Token token(folder.write("token", "0123456789abcdef"));
  ASSERT_TRUE(token.refresh());
  folder.write("token", "another-token-of-mine");
  {
    const test::FewDescriptors none;
    EXPECT_FALSE(token.refresh());
    EXPECT_TRUE(token.admits("Bearer 0123456789abcdef")) << "the earlier token stays in use";
  }
  EXPECT_TRUE(token.refresh());
  EXPECT_TRUE(token.admits("Bearer another-token-of-mine"));
}

/// A rotation that briefly removes the file is reported once.
TEST(Token, AMissingFileIsReportedOnce) {
  const test::TempFolder folder;
  const auto file = folder.write("token", "0123456789abcdef");
  Token token(file);
  ASSERT_TRUE(token.refresh());
  std::filesystem::remove(file);
  EXPECT_FALSE(token.refresh());
  EXPECT_TRUE(token.refresh());
  folder.write("token", "another-token-of-mine");
  EXPECT_TRUE(token.refresh());
  EXPECT_TRUE(token.admits("Bearer another-token-of-mine"));
}

TEST(Token, IsNotReadFromAHugeFile) {
  const test::TempFolder folder;
  Token token(folder.write("token", std::string(5000, 'x')));
  const auto read = token.refresh();
  ASSERT_FALSE(read);
  EXPECT_EQ(toString(read.error().reason), "too_large");
}

TEST(Token, AMissingFileIsAnErrorAndWithoutAFileNoneIsNeeded) {
  Token missing("/nonexistent/token");
  EXPECT_FALSE(missing.refresh());
  EXPECT_FALSE(missing.admits("Bearer "));
  Token none("");
  EXPECT_TRUE(none.refresh());
  EXPECT_TRUE(none.admits(""));
}

TEST(Host, IsAnAddressOrLocalhost) {
  for (const char* good :
       {"127.0.0.1", "127.0.0.1:9477", "localhost:9477", "[::1]:9477", "[::1]", "10.1.2.3:1"}) {
    EXPECT_TRUE(isLocalHost(good)) << good;
  }
  for (const char* bad :
       {"", "evil.example:9477", "localhost.evil.example", "127.0.0.1.evil.example:1", "[", "]"}) {
    EXPECT_FALSE(isLocalHost(bad)) << bad;
  }
}

TEST(Accept, OpenMetricsIfTheClientRatesItAtLeastAsHigh) {
  // The header of Prometheus 2.42.
  EXPECT_TRUE(
      wantsOpenMetrics("application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
                       "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
  EXPECT_TRUE(wantsOpenMetrics("application/openmetrics-text"));
  EXPECT_FALSE(wantsOpenMetrics(""));
  EXPECT_FALSE(wantsOpenMetrics("*/*"));
  EXPECT_FALSE(wantsOpenMetrics("text/plain;version=0.0.4"));
  EXPECT_FALSE(wantsOpenMetrics("application/openmetrics-text;q=0.2,text/plain;q=0.9"));
  EXPECT_FALSE(wantsOpenMetrics("application/openmetrics-text;version=9.0.0"));
  EXPECT_FALSE(wantsOpenMetrics("application/openmetrics-text;q=0"));
  EXPECT_FALSE(wantsOpenMetrics(";;;,,,q=,application/;"));
}

TEST(Query, IsDecoded) {
  const auto values = parseQuery("pod=shop%2Fweb-0&seconds=5&flag&x=a+b&broken=%zz%4");
  EXPECT_EQ(values.at("pod"), "shop/web-0");
  EXPECT_EQ(values.at("seconds"), "5");
  EXPECT_EQ(values.at("flag"), "");
  EXPECT_EQ(values.at("x"), "a b");
  EXPECT_EQ(values.at("broken"), "%zz%4");
  EXPECT_TRUE(parseQuery("").empty());
  EXPECT_EQ(parseQuery("pod=" + queryEscaped("a/b c&%\n")).at("pod"), "a/b c&%\n");
}

TEST(Clients, TheSlowestOfAnAddressMakesRoomForTheNewest) {
  Clients clients;
  std::vector<std::size_t> closed;
  std::vector<Clients::Place> places;
  for (std::size_t i = 0; i < Clients::kMaxOfAddress; ++i) {
    ASSERT_TRUE(clients.makeRoom("10.0.0.1"));
    places.push_back(
        clients.add({"10.0.0.1", true, Stamp(1h - 1s * i), [&closed, i] { closed.push_back(i); }}));
  }
  places.back()->asking = false;  // the oldest, but its request is being answered
  EXPECT_TRUE(clients.makeRoom("10.0.0.2"));
  EXPECT_TRUE(closed.empty());
  EXPECT_TRUE(clients.makeRoom("10.0.0.1"));
  EXPECT_EQ(closed, std::vector<std::size_t>{Clients::kMaxOfAddress - 2});
  for (const auto& place : places) place->asking = false;
  clients.add({"10.0.0.1", false, Stamp(), nullptr});
  EXPECT_FALSE(clients.makeRoom("10.0.0.1")) << "all are being answered";
}

TEST(Clients, ManyAddressesShareTheLimitAndRootIsUnaffected) {
  Clients clients;
  int closed = 0;
  clients.add({"", true, Stamp(), [] { FAIL() << "a client of the unix socket"; }});
  for (std::size_t i = 1; i <= Clients::kMaxClients; ++i) {
    clients.add({"10.0.0." + std::to_string(i), true, Stamp(1s * i), [&closed] { ++closed; }});
  }
  EXPECT_TRUE(clients.makeRoom("10.0.1.1"));
  EXPECT_EQ(closed, 1);
}

}  // namespace
}  // namespace fallbackd::http
