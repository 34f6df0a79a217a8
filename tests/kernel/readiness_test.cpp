// Readiness against real sockets.
#include "launcher/readiness.hpp"

#include "launch_fixture.hpp"

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
  Result<> wait(config::Readiness readiness) {
    std::optional<Result<>> result;
    asio::co_spawn(loop, launcher::waitReady(readiness, "127.0.0.1"),
                   [&](std::exception_ptr, Result<> outcome) { result = outcome; });
    while (!result) loop.run_one();
    return *result;
  }
  /// A port that nobody has at present.
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
      co_await asio::async_write(client, asio::buffer(answer), asio::use_awaitable);
    }
  }
  void start(asio::awaitable<void> task) {
    asio::co_spawn(loop, std::move(task), [](std::exception_ptr) {});
  }

  asio::io_context loop{1};
};

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

TEST_F(Readiness, HttpWantsAGoodStatus) {
  const auto port = freePort();
  start(serve(
      port, 0ms,
      {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 204 Fine\r\n\r\n"}));
  EXPECT_TRUE(wait({config::ReadyWhenHttp{port, "/healthz"}, 10s}));
}

TEST_F(Readiness, HttpTellsTheLastAnswer) {
  const auto port = freePort();
  start(serve(port, 0ms, std::vector<std::string>(500, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")));
  const auto result = wait({config::ReadyWhenHttp{port, "/"}, 500ms});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("HTTP status 500"));
}

}  // namespace fallbackd::test
