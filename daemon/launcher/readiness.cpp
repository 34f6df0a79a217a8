#include "launcher/readiness.hpp"

#include "base/clock.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using namespace std::chrono_literals;
using asio::ip::tcp;

namespace {

constexpr std::chrono::nanoseconds kStartUp = 1ms;
constexpr std::chrono::nanoseconds kFirstPause = 500us;
constexpr std::chrono::nanoseconds kLastPause = 20ms;
// One question alone may take this long: a packet that is lost while the process starts must not cost the
// kernel's own second before the next try.
constexpr std::chrono::nanoseconds kTryLimit = 1s;
constexpr std::uint64_t kMaxHeaderBytes = 64 * 1024;

/// A pod on the host's network has no address of its own in CRI; it serves on the node's.
asio::ip::address addressOf(const std::string& ip, boost::system::error_code& error) {
  return asio::ip::make_address(ip.empty() ? "127.0.0.1" : ip, error);
}

/// Empty: ready. Otherwise what was answered.
using Answer = std::optional<std::string>;

asio::awaitable<Answer> askTcp(tcp::endpoint endpoint) {
  tcp::socket socket(co_await asio::this_coro::executor);
  boost::system::error_code error;
  co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Answer("connect: " + error.message());
  co_return Answer();
}

asio::awaitable<Answer> askHttp(tcp::endpoint endpoint, std::string path) {
  tcp::socket socket(co_await asio::this_coro::executor);
  boost::system::error_code error;
  co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Answer("connect: " + error.message());
  http::request<http::empty_body> request(http::verb::get, path, 11);
  request.set(http::field::host, endpoint.address().to_string());
  request.set(http::field::user_agent, "fallbackd/" FALLBACKD_VERSION);
  request.set(http::field::connection, "close");
  co_await http::async_write(socket, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Answer("send: " + error.message());
  boost::beast::flat_buffer buffer(kMaxHeaderBytes);
  http::response_parser<http::empty_body> parser;
  co_await http::async_read_header(socket, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Answer("receive: " + error.message());
  const unsigned status = parser.get().result_int();
  if (status < 200 || status >= 400) co_return Answer("HTTP status " + std::to_string(status));
  co_return Answer();
}

}  // namespace

asio::awaitable<Result<>> waitReady(config::Readiness readiness, std::string ip) {
  using namespace asio::experimental::awaitable_operators;
  if (std::holds_alternative<config::ReadyWhenExec>(readiness.when)) co_return Result<>{};
  boost::system::error_code error;
  const auto address = addressOf(ip, error);
  if (error) co_return fail(Stage::readiness, Reason::invalid, "pod address " + ip);
  const auto* web = std::get_if<config::ReadyWhenHttp>(&readiness.when);
  const std::uint16_t port = web != nullptr ? web->port : std::get<config::ReadyWhenTcp>(readiness.when).port;
  const tcp::endpoint endpoint(address, port);
  const auto deadline = Monotonic::now() + readiness.timeout;
  asio::steady_timer limit(co_await asio::this_coro::executor);
  std::string last = "no answer in time";
  // A process that has only just been executed does not listen yet; to ask it would only take it the
  // processor.
  limit.expires_after(std::min(readiness.timeout / 2, kStartUp));
  co_await limit.async_wait(asio::use_awaitable);
  for (auto pause = kFirstPause;; pause = std::min(pause * 2, kLastPause)) {
    const auto left = std::max<std::chrono::nanoseconds>(deadline - Monotonic::now(), 0ns);
    limit.expires_after(std::min(left, kTryLimit));
    auto question = web != nullptr ? askHttp(endpoint, web->path) : askTcp(endpoint);
    const std::variant<Answer, std::monostate> first =
        co_await (std::move(question) || limit.async_wait(asio::use_awaitable));
    if (first.index() == 0) {
      const Answer& answer = std::get<0>(first);
      if (!answer) co_return Result<>{};
      last = *answer;
    } else if (left > kTryLimit) {
      // A question that only the deadline cut short says nothing; the answer before it does.
      last = "no answer in time";
    }
    if (Monotonic::now() + pause >= deadline) {
      co_return fail(Stage::readiness, Reason::not_ready,
                     ip + " port " + std::to_string(port) + " within " + formatDuration(readiness.timeout) +
                         ": " + last);
    }
    limit.expires_after(pause);
    co_await limit.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<Result<>> askOnce(std::variant<config::ReadyWhenTcp, config::ReadyWhenHttp> how,
                                  std::string ip, std::chrono::nanoseconds timeout) {
  using namespace asio::experimental::awaitable_operators;
  boost::system::error_code error;
  const auto address = addressOf(ip, error);
  if (error) co_return fail(Stage::readiness, Reason::invalid, "pod address " + ip);
  const auto* web = std::get_if<config::ReadyWhenHttp>(&how);
  const std::uint16_t port = web != nullptr ? web->port : std::get<config::ReadyWhenTcp>(how).port;
  asio::steady_timer limit(co_await asio::this_coro::executor);
  limit.expires_after(timeout);
  const tcp::endpoint endpoint(address, port);
  auto question = web != nullptr ? askHttp(endpoint, web->path) : askTcp(endpoint);
  const std::variant<Answer, std::monostate> first =
      co_await (std::move(question) || limit.async_wait(asio::use_awaitable));
  if (first.index() == 0 && !std::get<0>(first)) co_return Result<>{};
  const std::string answer =
      first.index() == 0 ? *std::get<0>(first) : "no answer within " + formatDuration(timeout);
  co_return fail(Stage::readiness, Reason::not_ready, ip + " port " + std::to_string(port) + ": " + answer);
}

}  // namespace fallbackd::launcher
