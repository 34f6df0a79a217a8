// SPDX-License-Identifier: Apache-2.0
// Whether a registry answers, with servers on loopback that answer or fail in every way.
#include "mirror/check.hpp"

#include "fake_runtime.hpp"
#include "few_descriptors.hpp"
#include "loop_server.hpp"

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <sys/socket.h>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using testing::HasSubstr;

/// Answers every request with the same bytes; stays silent if they are empty.
class Scripted final : public e2e::LoopServer {
 public:
  explicit Scripted(std::string answer) : answer_(std::move(answer)) {
    if (!listen()) throw std::runtime_error("no port");
  }
  ~Scripted() override { stop(); }
  [[nodiscard]] Upstream upstream() const { return upstreamOf("http://" + address()).value(); }
  std::string request;  // the latest; read it after the answer has arrived

 private:
  asio::awaitable<void> serve(asio::ip::tcp::socket socket) override {
    boost::system::error_code error;
    std::string text;
    // The first bytes: a whole request, which is small, or the beginning of a handshake.
    std::array<char, 4096> first{};
    const auto bytes = co_await socket.async_read_some(asio::buffer(first),
                                                       asio::redirect_error(asio::use_awaitable, error));
    text.assign(first.data(), bytes);
    request = text;
    if (answer_.empty()) co_await stayAway();
    co_await asio::async_write(socket, asio::buffer(answer_),
                               asio::redirect_error(asio::use_awaitable, error));
  }
  std::string answer_;
};

/// An address that refuses connections: the port of a server that has ended.
Upstream refusing() {
  const Scripted gone("x");
  return gone.upstream();
}

class CheckTest : public testing::Test {
 protected:
  std::optional<Failing> ask(Upstream upstream, std::optional<Upstream> proxy = {},
                             CheckLimits limits = {20s, 20s}) {
    return test::runToEnd(loop, check(std::move(upstream), std::move(proxy), limits, "/no/such/file", names));
  }
  std::optional<Cause> causeOf(const std::string& answer) {
    const Scripted server(answer);
    const auto failing = ask(server.upstream());
    return failing ? std::optional(failing->cause) : std::nullopt;
  }
  asio::io_context loop;
  std::shared_ptr<NameLookups> names = std::make_shared<NameLookups>(loop.get_executor());
};

TEST_F(CheckTest, EveryAnswerButOverloadMeansThatItIsWell) {
  for (const auto* status : {"200 OK", "401 Unauthorized", "403 Forbidden", "404 Not Found", "301 Moved"}) {
    EXPECT_EQ(causeOf("HTTP/1.1 " + std::string(status) + "\r\nContent-Length: 0\r\n\r\n"), std::nullopt)
        << status;
  }
  EXPECT_EQ(causeOf("HTTP/1.1 503 Down\r\n\r\n"), Cause::server_error);
  EXPECT_EQ(causeOf("HTTP/1.0 500 Down\r\n\r\n"), Cause::server_error);
  EXPECT_EQ(causeOf("HTTP/1.1 429 Slow down\r\n\r\n"), Cause::rate_limited);
}

TEST_F(CheckTest, AMissingOrInvalidAnswerHasItsCause) {
  EXPECT_EQ(ask(refusing())->cause, Cause::unreachable);
  EXPECT_EQ(causeOf("SSH-2.0-x\r\n"), Cause::unknown);
  EXPECT_EQ(causeOf("HTTP/1.1 2\r\n"), Cause::unknown);
  EXPECT_EQ(causeOf("HTTP/1.1 200"), Cause::unreachable) << "the answer was cut off";
  EXPECT_EQ(causeOf(std::string(8192, 'x')), Cause::unknown);
}

TEST_F(CheckTest, WhatTheNodeLacksIsNotAnOutage) {
  const auto refuses = refusing();                     // a server's thread would close a descriptor meanwhile
  EXPECT_EQ(ask(refuses)->cause, Cause::unreachable);  // the loop has opened its own descriptors now
  const test::FewDescriptors none;
  const auto failing = ask(refuses);
  ASSERT_TRUE(failing);
  EXPECT_EQ(failing->cause, Cause::unknown) << failing->text;
  auto named = refuses;
  named.host = "nowhere.invalid";
  const auto lookup = ask(named);
  ASSERT_TRUE(lookup);
  EXPECT_EQ(lookup->cause, Cause::unknown) << lookup->text;
}

TEST_F(CheckTest, SilenceEndsAtTheLimit) {
  const Scripted silent("");
  const auto failing = ask(silent.upstream(), {}, {20s, 100ms});
  ASSERT_TRUE(failing);
  EXPECT_EQ(failing->cause, Cause::timeout);
  EXPECT_THAT(failing->text, HasSubstr("no answer in time"));
  auto encrypted = silent.upstream();
  encrypted.tls = true;
  const auto handshake = ask(encrypted, {}, {100ms, 20s});
  ASSERT_TRUE(handshake);
  EXPECT_EQ(handshake->cause, Cause::timeout);
}

TEST_F(CheckTest, NoTlsIsNotAnOutageOfTheNetwork) {
  const Scripted plain("HTTP/1.1 400 Bad Request\r\n\r\nyou speak TLS to a server without it");
  auto encrypted = plain.upstream();
  encrypted.tls = true;
  const auto failing = ask(encrypted);
  ASSERT_TRUE(failing);
  EXPECT_NE(failing->cause, Cause::timeout);
}

TEST_F(CheckTest, AnHttpProxyIsAskedForTheWholeUrl) {
  const Scripted proxy("HTTP/1.1 401 Unauthorized\r\n\r\n");
  EXPECT_FALSE(ask(upstreamOf("http://registry.invalid").value(), proxy.upstream()));
  EXPECT_THAT(proxy.request, HasSubstr("GET http://registry.invalid/v2/ HTTP/1.1"));
}

TEST_F(CheckTest, ATunnelThatIsRefusedIsAnOutage) {
  const Scripted proxy("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  const auto failing = ask(upstreamOf("https://registry.invalid").value(), proxy.upstream());
  ASSERT_TRUE(failing);
  EXPECT_EQ(failing->cause, Cause::unreachable);
  EXPECT_THAT(proxy.request, HasSubstr("CONNECT registry.invalid:443 HTTP/1.1"));
  const Scripted asks("HTTP/1.1 407 Who are you\r\n\r\n");
  EXPECT_EQ(ask(upstreamOf("https://registry.invalid").value(), asks.upstream())->cause, Cause::unauthorized)
      << "only containerd has the password";
}

/// A name server that does not answer for some names.
class SlowNames {
 public:
  ~SlowNames() { answer(); }
  NameLookups::Found lookUp(const std::string& host) {
    std::unique_lock lock(guard_);
    ++asked_;
    changed_.notify_all();
    if (host.starts_with("slow")) changed_.wait(lock, [this] { return answers_; });
    --asked_;
    if (host == "none.test") return {{}, "no such host"};
    return {{asio::ip::address_v4::loopback()}, ""};
  }
  void answer() {
    const std::lock_guard lock(guard_);
    answers_ = true;
    changed_.notify_all();
  }
  void waitUntilAsked(std::size_t count) {
    std::unique_lock lock(guard_);
    changed_.wait(lock, [&] { return asked_ == count; });
  }

 private:
  std::mutex guard_;
  std::condition_variable changed_;
  bool answers_ = false;
  std::size_t asked_ = 0;  // queries without an answer so far
};

struct NamesTest : CheckTest {
  NamesTest() {
    names = std::make_shared<NameLookups>(
        loop.get_executor(), [slow = slow](const std::string& host) { return slow->lookUp(host); });
  }
  /// Begins a check that waits for the lookup of its name.
  void begin(const std::string& host) {
    asio::co_spawn(loop, check(upstreamOf("http://" + host).value(), {}, {20s, 20s}, "/no/such/file", names),
                   [this](const std::exception_ptr&, const std::optional<Failing>&) { ++ended; });
    loop.restart();
    loop.poll();
  }
  [[nodiscard]] std::optional<Failing> askFor(const std::string& host, CheckLimits limits = {20s, 20s}) {
    auto upstream = well.upstream();
    upstream.host = host;
    return ask(upstream, {}, limits);
  }
  // The threads may outlive the test.
  std::shared_ptr<SlowNames> slow = std::make_shared<SlowNames>();
  const Scripted well{"HTTP/1.1 200 OK\r\n\r\n"};
  std::size_t ended = 0;
};

TEST_F(NamesTest, ASlowNameHoldsUpNoOther) {
  for (int i = 0; i < 10; ++i) begin("slow" + std::to_string(i) + ".test");
  slow->waitUntilAsked(10);
  EXPECT_FALSE(askFor("quick.test")) << "that registry answers";
  EXPECT_EQ(askFor("none.test")->cause, Cause::dns);
  EXPECT_EQ(askFor("slow0.test", {50ms, 20s})->cause, Cause::timeout) << "its own limit";
  EXPECT_EQ(ended, 0U);
  slow->answer();
  EXPECT_TRUE(test::runUntil(loop, [&] { return ended == 10; }));
}

TEST_F(NamesTest, OneNameIsLookedUpOnceAtATime) {
  for (int i = 0; i < 5; ++i) begin("slow.test");
  slow->waitUntilAsked(1);
  slow->answer();
  EXPECT_TRUE(test::runUntil(loop, [&] { return ended == 5; }));
}

TEST_F(NamesTest, TooManySlowNamesAreNotAnOutageOfOthers) {
  for (std::size_t i = 0; i < NameLookups::kMaxAtOnce; ++i) begin("slow" + std::to_string(i) + ".test");
  slow->waitUntilAsked(NameLookups::kMaxAtOnce);
  EXPECT_EQ(askFor("quick.test")->cause, Cause::unknown);
  slow->answer();
  EXPECT_TRUE(test::runUntil(loop, [&] { return ended == NameLookups::kMaxAtOnce; }));
  EXPECT_FALSE(askFor("quick.test"));
}

TEST_F(NamesTest, AnAbandonedLookupHoldsUpNobody) {
  {
    asio::io_context other;
    const auto own = std::make_shared<NameLookups>(
        other.get_executor(), [slow = slow](const std::string& host) { return slow->lookUp(host); });
    asio::co_spawn(other, check(upstreamOf("http://slow.test").value(), {}, {20s, 20s}, "/no/such/file", own),
                   asio::detached);
    other.poll();
    slow->waitUntilAsked(1);
  }
  slow->answer();  // the loop and its lookups no longer exist
}

/// An IPv6 address that does not even accept connections, at the port of an IPv4 server.
class SilentIpv6 {
 public:
  explicit SilentIpv6(std::uint16_t port) {
    const asio::ip::tcp::endpoint where(asio::ip::address_v6::loopback(), port);
    acceptor_.open(where.protocol(), error_);
    if (!error_) acceptor_.set_option(asio::ip::v6_only(true), error_);
    if (!error_) acceptor_.bind(where, error_);
    if (!error_) acceptor_.listen(0, error_);
    // A client that connects when the queue is full gets no answer.
    for (auto& one : queue_) {
      if (!error_) one.open(where.protocol(), error_);
      if (!error_) one.non_blocking(true, error_);
      // Asio's connect() would wait.
      if (!error_) static_cast<void>(::connect(one.native_handle(), where.data(), where.size()));
    }
  }
  [[nodiscard]] bool made() const { return !error_; }

 private:
  asio::io_context loop_;
  boost::system::error_code error_;
  asio::ip::tcp::acceptor acceptor_{loop_};
  std::array<asio::ip::tcp::socket, 4> queue_{asio::ip::tcp::socket(loop_), asio::ip::tcp::socket(loop_),
                                              asio::ip::tcp::socket(loop_), asio::ip::tcp::socket(loop_)};
};

struct FamiliesTest : CheckTest {
  /// Checks a host with these addresses, at the port of `server`.
  std::optional<Failing> askAt(const Scripted& server, std::vector<asio::ip::address> addresses,
                               CheckLimits limits = {5s, 20s}) {
    names = std::make_shared<NameLookups>(loop.get_executor(), [addresses](const std::string&) {
      return NameLookups::Found{addresses, ""};
    });
    auto upstream = server.upstream();
    upstream.host = "both.test";
    return ask(upstream, {}, limits);
  }
  const asio::ip::address four = asio::ip::address_v4::loopback();
  const asio::ip::address six = asio::ip::address_v6::loopback();
};

TEST_F(FamiliesTest, AnAddressThatLeadsNowhereDoesNotHoldUpTheOtherFamily) {
  const Scripted well("HTTP/1.1 200 OK\r\n\r\n");
  const SilentIpv6 silent(well.port());
  if (!silent.made()) GTEST_SKIP() << "needs IPv6 on loopback";
  EXPECT_EQ(askAt(well, {six}, {100ms, 20s})->cause, Cause::timeout) << "this address alone times out";
  EXPECT_FALSE(askAt(well, {six, four}));
  EXPECT_FALSE(askAt(well, {four, six}));
  EXPECT_FALSE(askAt(well, {six, four, six}));
}

TEST_F(FamiliesTest, OneAddressAfterTheOtherIsTried) {
  const Scripted well("HTTP/1.1 200 OK\r\n\r\n");
  const auto refuses = asio::ip::make_address("127.0.0.2");
  EXPECT_FALSE(askAt(well, {refuses, four}));
  EXPECT_FALSE(askAt(well, {six, refuses, four})) << "no server listens at the first address";
  EXPECT_EQ(askAt(well, {refuses, six})->cause, Cause::unreachable);
}

/// containerd uses a different way to the registry: a failure on this way does not mean that containerd
/// fails.
TEST_F(NamesTest, AnUnsupportedProxyIsNotAnOutage) {
  const Scripted speaksTls("HTTP/1.1 400 You speak HTTP to TLS\r\n\r\n");
  auto registry = refusing();  // reachable only through the proxy
  registry.host = "quick.test";
  for (const std::string& url : {"https://" + speaksTls.address(), "socks5://" + speaksTls.address()}) {
    for (const bool tls : {true, false}) {
      registry.tls = tls;
      const Proxies proxies{url, url, ""};
      const auto failing =
          test::runToEnd(loop, checkAll({registry}, proxies, {20s, 20s}, "/no/such/file", names));
      ASSERT_TRUE(failing) << url;
      EXPECT_EQ(failing->cause, Cause::unknown) << url;
      EXPECT_THAT(failing->text, HasSubstr(url));
    }
  }
}

TEST_F(CheckTest, OneHostThatAnswersIsEnough) {
  const Scripted silent("");
  const Scripted well("HTTP/1.1 200 OK\r\n\r\n");
  const auto all = [&](std::vector<Upstream> upstreams) {
    return test::runToEnd(loop, checkAll(std::move(upstreams), {}, {20s, 20s}, "/no/such/file", names));
  };
  EXPECT_FALSE(all({silent.upstream(), well.upstream()})) << "the check does not wait for the silent host";
  EXPECT_FALSE(all({refusing(), well.upstream()}));
  const Scripted broken("HTTP/1.1 503 Down\r\n\r\n");
  EXPECT_EQ(all({refusing(), broken.upstream()})->cause, Cause::server_error) << "the registry's own failure";
}

}  // namespace
}  // namespace fallbackd::mirror
