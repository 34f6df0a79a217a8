// SPDX-License-Identifier: Apache-2.0
// Readiness checks against real sockets.
#include "recovery/readiness.hpp"

#include "launch_fixture.hpp"
#include "sys/network.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <future>
#include <sched.h>
#include <thread>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

namespace fallbackd::test {

using asio::ip::tcp;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class Readiness : public ::testing::Test {
 protected:
  Result<> wait(config::Readiness readiness, launcher::Place place = {"127.0.0.1"}) {
    std::optional<Result<>> result;
    asio::co_spawn(loop, launcher::waitReady(readiness, place),
                   [&](std::exception_ptr, Result<> outcome) { result = outcome; });
    loop.restart();  // it has stopped if an earlier call left it without work
    const auto ceiling = Monotonic::now() + 60s;
    while (!result && Monotonic::now() < ceiling) loop.run_one_for(1s);
    return result.value_or(fail(Stage::readiness, Reason::internal, "the check never ended"));
  }
  /// A port that is free at the moment.
  std::uint16_t freePort() {
    tcp::acceptor acceptor(loop, {asio::ip::make_address("127.0.0.1"), 0});
    return acceptor.local_endpoint().port();
  }
  asio::awaitable<void> serve(std::uint16_t port, std::chrono::milliseconds delay,
                              std::vector<std::string> answers) {
    asio::steady_timer timer(loop);
    timer.expires_after(delay);
    co_await timer.async_wait(asio::use_awaitable);
    tcp::acceptor acceptor(loop, {asio::ip::make_address("127.0.0.1"), port});
    for (const auto& answer : answers) {
      tcp::socket client = co_await acceptor.async_accept(asio::use_awaitable);
      asio::streambuf request;
      co_await asio::async_read_until(client, request, "\r\n\r\n", asio::use_awaitable);
      lastRequest.assign(asio::buffers_begin(request.data()), asio::buffers_end(request.data()));
      co_await asio::async_write(client, asio::buffer(answer), asio::use_awaitable);
    }
  }
  void start(asio::awaitable<void> task) {
    asio::co_spawn(loop, std::move(task), [](std::exception_ptr) {});
  }

  asio::io_context loop{1};
  std::string lastRequest;
};

/// A separate network namespace, like a pod's, with a listener on its own loopback.
class OtherNetwork {
 public:
  OtherNetwork() : thread_([this] { run(); }) { ready_.get_future().wait(); }
  ~OtherNetwork() {
    done_.set_value();
    thread_.join();
  }
  OtherNetwork(const OtherNetwork&) = delete;
  OtherNetwork& operator=(const OtherNetwork&) = delete;

  [[nodiscard]] launcher::Place at(const std::string& ip) const { return {ip, network_}; }
  [[nodiscard]] const sys::NamespaceFd& network() const { return *network_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// Runs `command` in it.
  bool shell(const std::string& command) {
    command_.set_value(command);
    return answered_.get_future().get();
  }

 private:
  void run() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): only the tests' own shell, one at a time
    const auto shell = [](const std::string& command) { return std::system(command.c_str()) == 0; };
    auto command = command_.get_future();
    auto done = done_.get_future();
    if (::unshare(CLONE_NEWNET) == 0 && shell("ip link set lo up")) {
      network_ =
          std::make_shared<const sys::NamespaceFd>(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      tcp::acceptor acceptor(context_, {asio::ip::address_v4::any(), 0});
      port_ = acceptor.local_endpoint().port();
      ready_.set_value();
      while (done.wait_for(1ms) != std::future_status::ready) {
        if (command.valid() && command.wait_for(0s) == std::future_status::ready) {
          answered_.set_value(shell(command.get()));
        }
      }
      return;
    }
    ready_.set_value();
    done.wait();
  }

  asio::io_context context_{1};
  std::promise<void> ready_;
  std::promise<void> done_;
  std::promise<std::string> command_;
  std::promise<bool> answered_;
  std::shared_ptr<const sys::NamespaceFd> network_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST_F(Readiness, APodIsProbedInsideItsOwnNetwork) {
  const OtherNetwork pod;
  ASSERT_NE(pod.port(), 0);
  EXPECT_TRUE(wait({config::ReadyWhenTcp{pod.port()}, 10s}, pod.at("127.0.0.1")));
  const auto outside = wait({config::ReadyWhenTcp{pod.port()}, 50ms});
  ASSERT_FALSE(outside) << "it is on a different loopback";
  EXPECT_EQ(outside.error().reason, Reason::not_ready);
}

TEST_F(Readiness, AnUnknownAddressIsLoopbackThereAndAnErrorElsewhere) {
  const OtherNetwork pod;
  EXPECT_TRUE(wait({config::ReadyWhenTcp{pod.port()}, 10s}, pod.at("")));
  const auto unknown = wait({config::ReadyWhenTcp{pod.port()}, 50ms}, {});
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().reason, Reason::not_ready) << "the fallback did not answer";
}

TEST_F(Readiness, AnUnreachableAddressIsNotAnAnswerOfTheFallback) {
  const OtherNetwork pod;
  const auto result = wait({config::ReadyWhenTcp{pod.port()}, 50ms}, pod.at("198.51.100.1"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, Reason::unavailable);
  EXPECT_THAT(result.error().message(), HasSubstr("could not be asked"));
}

TEST(NodeAddress, IsTheSourceAddressOfTheDefaultRoute) {
  OtherNetwork node;
  const auto before = sys::addressesIn(Stage::sandbox, node.network());
  ASSERT_TRUE(before) << before.error().message();
  EXPECT_THAT(*before, ::testing::IsEmpty());
  ASSERT_TRUE(
      node.shell("ip addr add 198.51.100.7/24 dev lo && ip route add default dev lo src 198.51.100.7"));
  const auto after = sys::addressesIn(Stage::sandbox, node.network());
  ASSERT_TRUE(after);
  EXPECT_THAT(*after, ::testing::ElementsAre("198.51.100.7"));
}

TEST_F(Readiness, ExecIsReadyAtOnce) {
  EXPECT_TRUE(wait({config::ReadyWhenExec{}, 1s}));
}

TEST_F(Readiness, TcpWaitsForTheListener) {
  const auto port = freePort();
  start(serve(port, 60ms, {"x"}));
  const auto began = Monotonic::now();
  EXPECT_TRUE(wait({config::ReadyWhenTcp{port}, 10s}));
  EXPECT_GE(Monotonic::now() - began, 60ms);
  EXPECT_LT(Monotonic::now() - began, 5s);
}

TEST_F(Readiness, TcpGivesUpInTimeAndSaysWhy) {
  const auto began = Monotonic::now();
  const auto result = wait({config::ReadyWhenTcp{freePort()}, 100ms});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().stage, Stage::readiness);
  EXPECT_EQ(result.error().reason, Reason::not_ready);
  EXPECT_THAT(result.error().message(), HasSubstr("refused"));
  EXPECT_LT(Monotonic::now() - began, 5s);
}

TEST_F(Readiness, HttpRequiresAGoodStatus) {
  const auto port = freePort();
  start(serve(
      port, 0ms,
      {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 204 Fine\r\n\r\n"}));
  EXPECT_TRUE(wait({config::ReadyWhenHttp{port, "/healthz"}, 10s}));
}

TEST_F(Readiness, HttpSendsTheHeadersOfTheProbe) {
  const auto port = freePort();
  start(serve(port, 0ms, {"HTTP/1.1 204 Fine\r\n\r\n"}));
  EXPECT_TRUE(wait(
      {config::ReadyWhenHttp{port, "/healthz", {{"Host", "shop.example.com"}, {"X-Probe", "yes"}}}, 10s}));
  EXPECT_THAT(lastRequest, HasSubstr("Host: shop.example.com\r\n"));
  EXPECT_THAT(lastRequest, HasSubstr("X-Probe: yes\r\n"));
  EXPECT_EQ(lastRequest.find("127.0.0.1"), std::string::npos) << "only one Host: " << lastRequest;
}

TEST_F(Readiness, HttpReportsTheLastAnswer) {
  const auto port = freePort();
  start(serve(port, 0ms, std::vector<std::string>(500, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")));
  const auto result = wait({config::ReadyWhenHttp{port, "/"}, 500ms});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("HTTP status 500"));
}

}  // namespace fallbackd::test
