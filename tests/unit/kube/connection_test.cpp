// SPDX-License-Identifier: Apache-2.0
// The connection with a real TLS server on loopback that works or fails in every way.
#include "kube/connection.hpp"

#include "fake_clock.hpp"
#include "kube/authority.hpp"
#include "kube/fake_api_server.hpp"
#include "kube/outcome.hpp"
#include "refused_calls.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <cerrno>
#include <filesystem>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using kube_test::Authority;
using kube_test::FakeApiServer;
using kube_test::Fault;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kPods = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1";

class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() {
    server.acceptTokens({"secret-1"});
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.text = authority.certificate();
    access.token.text = "secret-1";
  }

  /// Runs the coroutine and returns its result. Time stands still, so that no limit can pass.
  template <class T>
  T run(asio::awaitable<T> work, const std::function<void()>& meanwhile = {}) {
    std::optional<T> result;
    asio::co_spawn(loop, std::move(work), [&](const std::exception_ptr& error, T value) {
      if (error) std::rethrow_exception(error);
      result.emplace(std::move(value));
    });
    if (meanwhile) meanwhile();
    if (!test::runWhileTimeStands(loop, [&] { return result.has_value(); })) {
      throw std::runtime_error("it does not end");
    }
    return std::move(*result);
  }

  static asio::awaitable<Result<Answer>> ask(Access access, std::string target) {
    FB_CO_TRY(auto connection, co_await Connection::open(std::move(access), 5s));
    co_return co_await connection.get(std::move(target), 15s);
  }
  Result<Answer> get(const std::string& target = kPods) { return run(ask(access, target)); }

  /// The request hangs, and its limit passes.
  Result<Answer> getTooLate() {
    const auto before = server.connections();
    return run(ask(access, kPods), [&] {
      const auto hangs = [&] { return server.connections() > before; };
      ASSERT_TRUE(test::runWhileTimeStands(loop, hangs));
      // The step that hangs differs: advance the clock until that step's limit has passed.
      for (int i = 0; i < 20; ++i) {
        for (int turns = 0; turns < 30; ++turns) {
          loop.restart();
          if (loop.poll() > 0) turns = 0;
          server.turn();
        }
        clock.advance(loop, 1s);
      }
    });
  }

  asio::io_context loop{1};
  test::FakeClock& clock = test::FakeClock::install(loop);
  Authority authority{"cluster"};
  FakeApiServer server{authority.server("IP:127.0.0.1,DNS:kubernetes.default.svc")};
  Access access;
  test::TempFolder folder;
};

TEST_F(ConnectionTest, ANameIsNotLookedUpWithoutAThread) {
  access.server = parseUrl("https://kubernetes.default.svc:6443").value();
  const auto answer = test::onOwnThread([&]() -> Result<Answer> {
    if (!test::refuseCalls(test::cloneCalls(), EAGAIN))
      return fail(Stage::kube, Reason::internal, "no filter");
    return get();
  });
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().reason, Reason::unavailable);
  EXPECT_THAT(answer.error().message(), HasSubstr("resolve kubernetes.default.svc"));
}

TEST_F(ConnectionTest, AnswersCome) {
  server.put(kube_test::podJson("checkout-1", "uid-1"));
  const auto answer = get();
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->status, 200U);
  EXPECT_THAT(answer->body, HasSubstr("uid-1"));
  EXPECT_THAT(server.violations(), IsEmpty());
}

TEST_F(ConnectionTest, OneConnectionTakesSeveralRequests) {
  const auto both = run([](Access given) -> asio::awaitable<Result<unsigned>> {
    FB_CO_TRY(auto connection, co_await Connection::open(std::move(given), 5s));
    FB_CO_TRY(const auto first, co_await connection.get(kPods, 5s));
    FB_CO_TRY(const auto second, co_await connection.get("/nowhere", 5s));
    co_return first.status + second.status;
  }(access));
  ASSERT_TRUE(both) << both.error().message();
  EXPECT_EQ(*both, 200U + 404U);
  EXPECT_EQ(server.connections(), 1U);
}

TEST_F(ConnectionTest, ABasePathIsPutBefore) {
  access.server.basePath = "/clusters/one";
  static_cast<void>(get());
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_EQ(server.requests()[0].path, "/clusters/one/api/v1/pods");
}

TEST_F(ConnectionTest, StatusAndRetryAfterAreHandedOn) {
  server.trouble({Fault::status, 429, "7"});
  const auto answer = get();
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->status, 429U);
  EXPECT_EQ(answer->retryAfter, 7s);
  server.trouble({Fault::status, 503, "Wed, 21 Oct 2026 07:28:00 GMT"});
  EXPECT_EQ(get()->retryAfter, std::nullopt) << "dates are not supported";
}

TEST_F(ConnectionTest, ARedirectIsAnAnswerAndNotFollowed) {
  server.trouble({Fault::redirect});
  const auto answer = get();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 302U);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(ConnectionTest, ATokenFileIsReadForEachRequest) {
  access.token = {folder.write("token", "secret-1\n"), ""};
  EXPECT_EQ(get()->status, 200U);
  folder.write("token", "secret-2\n");
  EXPECT_EQ(get()->status, 401U);
  server.acceptTokens({"secret-2"});
  EXPECT_EQ(get()->status, 200U);
  std::filesystem::remove(access.token.file);
  const auto answer = get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(outcomeOf(answer.error()), Outcome::credentials);
  EXPECT_THAT(answer.error().message(), HasSubstr(access.token.file));
}

TEST_F(ConnectionTest, ATokenCannotAddHeaders) {
  access.token.text = "secret-1\r\nX-Other: yes";
  const auto answer = get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().reason, Reason::invalid);
  EXPECT_THAT(answer.error().message(), testing::Not(HasSubstr("secret-1")));
}

TEST_F(ConnectionTest, ATokenFileThatHoldsSomethingElseIsAnError) {
  access.token = {folder.write("token", std::string(70'000, 'x')), ""};
  const auto answer = get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().reason, Reason::invalid);
  EXPECT_EQ(outcomeOf(answer.error()), Outcome::credentials);
  EXPECT_THAT(answer.error().message(), HasSubstr(access.token.file));
}

TEST_F(ConnectionTest, AnotherAuthorityIsNotTrustedUntilItsFileChanges) {
  const Authority other("other");
  access.authorities = {folder.write("ca.crt", other.certificate()), ""};
  const auto refused = get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(outcomeOf(refused.error()), Outcome::tls);
  EXPECT_THAT(server.requests(), IsEmpty()) << "an untrusted server received the token";
  folder.write("ca.crt", other.certificate() + authority.certificate());
  EXPECT_TRUE(get());
}

TEST_F(ConnectionTest, TheCertificateMustNameTheServer) {
  server.certify(authority.server("IP:127.0.0.2,DNS:elsewhere"));
  const auto refused = get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(outcomeOf(refused.error()), Outcome::tls);
  EXPECT_THAT(server.requests(), IsEmpty());
  access.serverName = "elsewhere";
  EXPECT_TRUE(get());
  access.serverName = "127.0.0.2";
  EXPECT_TRUE(get());
}

TEST_F(ConnectionTest, APinnedCertificateIsTheOnlyOneThatCounts) {
  const auto own = Authority::selfSigned("DNS:node-1");
  const auto again = Authority::selfSigned("DNS:node-1");
  server.certify(own);
  access.authorities = {};
  access.pinnedCertificate = folder.write("kubelet.crt", own.certificate);
  EXPECT_TRUE(get()) << "self-signed and with a different name, but it is the pinned certificate";
  const auto before = server.requests().size();
  server.certify(again);
  const auto refused = get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(outcomeOf(refused.error()), Outcome::tls);
  EXPECT_THAT(refused.error().message(), HasSubstr("kubelet.crt"));
  server.certify(authority.server("IP:127.0.0.1"));
  EXPECT_FALSE(get()) << "the cluster's CA signed it, but only the pinned certificate counts";
  EXPECT_EQ(server.requests().size(), before) << "a different server received the token";
  folder.write("kubelet.crt", again.certificate);
  server.certify(again);
  EXPECT_TRUE(get());
}

TEST_F(ConnectionTest, AClientCertificateIsPresented) {
  server.askForCertificates(authority);
  access.token.text.clear();
  EXPECT_EQ(get()->status, 401U);
  const auto client = authority.client("system:node:node-1");
  access.certificate.text = client.certificate;
  access.key = {folder.write("client.key", client.key), ""};
  EXPECT_EQ(get()->status, 200U);
  EXPECT_EQ(server.requests().back().clientName, "system:node:node-1");
  access.key.text = authority.client("another").key;
  access.key.file.clear();
  const auto answer = get();
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message(), HasSubstr("client key"));
}

TEST_F(ConnectionTest, EachFailureHasItsOutcome) {
  const std::pair<Fault, Outcome> kinds[] = {{Fault::cut_before_answer, Outcome::unreachable},
                                             {Fault::cut_body, Outcome::unreachable},
                                             {Fault::not_http, Outcome::malformed},
                                             {Fault::huge_header, Outcome::too_large},
                                             {Fault::endless_body, Outcome::too_large}};
  for (const auto& [fault, outcome] : kinds) {
    server.trouble({fault});
    const auto answer = get();
    ASSERT_FALSE(answer) << static_cast<int>(fault);
    EXPECT_EQ(toString(outcomeOf(answer.error())), toString(outcome)) << answer.error().message();
  }
  server.heal();
  EXPECT_TRUE(get());
}

TEST_F(ConnectionTest, AClosedPortIsUnreachable) {
  access.server.port = 1;
  const auto answer = get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(outcomeOf(answer.error()), Outcome::unreachable);
}

TEST_F(ConnectionTest, SilenceEndsAtTheLimit) {
  for (const auto fault :
       {Fault::silent_accept, Fault::silent_answer, Fault::silent_body, Fault::huge_body}) {
    server.trouble({fault});
    const auto answer = getTooLate();
    ASSERT_FALSE(answer) << static_cast<int>(fault);
    EXPECT_EQ(outcomeOf(answer.error()), Outcome::timeout) << answer.error().message();
  }
}

TEST_F(ConnectionTest, AStreamComesLineByLine) {
  const std::string watch =
      std::string(kPods) + "&watch=1&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=100";
  const auto types = run(
      [](Access given, std::string target, Stamp deadline) -> asio::awaitable<Result<std::string>> {
        FB_CO_TRY(auto connection, co_await Connection::open(std::move(given), 5s));
        FB_CO_TRY(const auto head, co_await connection.openStream(target, 5s));
        std::string lines = std::to_string(head.status);
        for (;;) {
          FB_CO_TRY(const auto line, co_await connection.nextLine(deadline));
          if (!line) co_return lines;
          lines += " " + line->text.substr(0, 14);
        }
      }(access, watch, clock.now() + 5min),
      [&] {
        ASSERT_TRUE(test::runWhileTimeStands(loop, [&] { return server.watches() == 1; }));
        server.put(kube_test::podJson("checkout-1", "uid-1"));
        server.put(kube_test::podJson("elsewhere-1", "uid-2", "node-2"));
        server.remove("uid-1");
        server.endWatches(FakeApiServer::End::clean);
      });
  ASSERT_TRUE(types) << types.error().message();
  EXPECT_EQ(*types, "200 {\"type\":\"ADDED {\"type\":\"DELET");
  EXPECT_THAT(server.violations(), IsEmpty());
}

TEST_F(ConnectionTest, WhatIsNotAStreamHasABody) {
  server.acceptTokens({});
  const auto answer = run([](Access given) -> asio::awaitable<Result<Answer>> {
    FB_CO_TRY(auto connection, co_await Connection::open(std::move(given), 5s));
    co_return co_await connection.openStream(kPods, 5s);
  }(access));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 401U);
  EXPECT_THAT(answer->body, HasSubstr("Unauthorized"));
}

}  // namespace
}  // namespace fallbackd::kube
