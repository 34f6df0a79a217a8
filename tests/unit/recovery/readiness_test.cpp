// SPDX-License-Identifier: Apache-2.0
// Only the fallback's lateness counts, not that of a daemon that gets no processor time.
#include "recovery/readiness.hpp"

#include "fake_clock.hpp"
#include "run_until.hpp"

#include <chrono>
#include <cstdint>
#include <optional>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <gmock/gmock.h>

namespace fallbackd::launcher {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;
using testing::HasSubstr;

/// A fallback with an open or a closed port that never answers.
class Lateness : public testing::Test {
 protected:
  Lateness() : port_(tcp::acceptor(loop, {asio::ip::address_v4::loopback(), 0}).local_endpoint().port()) {}
  void listen() { acceptor_.emplace(loop, tcp::endpoint(asio::ip::address_v4::loopback(), port_)); }
  void begin(asio::awaitable<Result<>> work) {
    asio::co_spawn(loop, std::move(work),
                   [this](const std::exception_ptr&, Result<> outcome) { result = std::move(outcome); });
    clock.advance(loop, 0s);
  }
  /// Lets time pass while the loop does not run.
  void starve(std::chrono::nanoseconds length) { clock.sleep(length); }
  void ends() {
    ASSERT_TRUE(test::runUntil(loop, [&] { return result.has_value(); }));
  }
  [[nodiscard]] config::ReadyWhenHttp http() const {
    config::ReadyWhenHttp how;
    how.port = port_;
    how.path = "/";
    return how;
  }

  asio::io_context loop{1};
  test::FakeClock& clock = test::FakeClock::install(loop);
  std::uint16_t port_;
  std::optional<tcp::acceptor> acceptor_;
  std::optional<Result<>> result;
};

TEST_F(Lateness, SilenceInTimeIsTheFallbacksFault) {
  listen();
  begin(askOnce(http(), {"127.0.0.1"}, 1s));
  ends();
  ASSERT_FALSE(*result);
  EXPECT_EQ(result->error().reason, Reason::not_ready);
}

TEST_F(Lateness, SilenceWhileTheDaemonSleptIsNotTheFallbacksFault) {
  listen();
  begin(askOnce(http(), {"127.0.0.1"}, 1s));
  starve(5s);
  ends();
  ASSERT_FALSE(*result);
  EXPECT_EQ(result->error().reason, Reason::unavailable);
  EXPECT_THAT(result->error().message(), HasSubstr("fallbackd itself came"));
}

TEST_F(Lateness, ADaemonThatSleptPastTheDeadlineAsksAgain) {
  config::Readiness readiness;
  readiness.when = config::ReadyWhenTcp{port_};
  readiness.timeout = 1s;
  begin(waitReady(readiness, {"127.0.0.1"}));
  clock.advance(loop, 500ms);
  ASSERT_FALSE(result) << "the port is still closed";
  starve(10s);
  clock.advance(loop, 100ms);
  ASSERT_FALSE(result) << "half a second of its timeout is left";
  listen();
  ends();
  EXPECT_TRUE(*result) << result->error().message();
}

TEST_F(Lateness, OneThatNeverListensIsNotReadyAllTheSame) {
  config::Readiness readiness;
  readiness.when = config::ReadyWhenTcp{port_};
  readiness.timeout = 1s;
  const auto before = clock.now();
  begin(waitReady(readiness, {"127.0.0.1"}));
  ends();
  ASSERT_FALSE(*result);
  EXPECT_EQ(result->error().reason, Reason::not_ready);
  EXPECT_LE(clock.now() - before, 1s);
}

}  // namespace
}  // namespace fallbackd::launcher
